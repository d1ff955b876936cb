"""The examples that the guide shows, run as it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from PIL import Image

from kit.status import from_rpc_error
from tests.support.providers import ROOT, Place, place, provider_process
from tests.support.stack import free_ports

EXAMPLES = ROOT / "examples"
WHITE = {"class_type": "EmptyImage", "inputs": {"width": 400, "height": 400, "batch_size": 2, "color": 0xFFFFFF}}
GRAY = {"class_type": "EmptyImage", "inputs": {"width": 400, "height": 400, "batch_size": 1, "color": 0x303030}}


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def saved(here: Place, shown: Any) -> Any:
    file = shown["images"][0]
    with Image.open(here.data / file["type"] / file["subfolder"] / file["filename"]) as picture:
        return np.asarray(picture)


async def test_the_python_example(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [sys.executable, str(EXAMPLES / "provider_python" / "nodes.py"), address]
    with provider_process(port, tmp_path, command):
        async with place(tmp_path, address) as here:
            await here.knows("ExampleVignette")
            ended = await here.run({
                "1": WHITE, "2": GRAY, "3": n("ExampleSwitch", first_one=True, first=["1", 0], second=["2", 0]),
                "4": n("ExampleRepeatVignette", image=["3", 0], strength=0.5, times=2),
                "5": n("PreviewImage", images=["4", 0]),
            })  # fmt: skip
            assert ended.succeeded and "2" not in ended.executed
            picture = saved(here, ended.outputs["5"])
            assert picture[0, 0].tolist() == [63, 63, 63] and picture[200, 200].min() >= 254
            previews = ended.of("preview")
            assert len(previews) == 4 and {e.media_type for e in previews} == {"image/jpeg"}


@pytest.fixture(scope="module")
def javascript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with its packages, in a folder of its own."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("the JavaScript example needs node and npm")
    folder = tmp_path_factory.mktemp("javascript") / "examples" / "provider_node"
    folder.mkdir(parents=True)
    for name in ("package.json", "package-lock.json", "provider.js"):
        shutil.copy(EXAMPLES / "provider_node" / name, folder)
    (folder.parents[1] / "protos").symlink_to(ROOT / "protos")
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)
    if done.returncode:
        pytest.skip(f"npm cannot install here: {done.stderr.strip().splitlines()[-1:]}")
    return folder


async def test_the_javascript_example(tmp_path: Path, javascript: Path) -> None:
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    with provider_process(port, tmp_path, ["node", str(javascript / "provider.js"), address]):
        async with place(tmp_path, address) as here:
            await here.knows("JsPosterize")
            info = (await here.object_info("JsPosterize"))["JsPosterize"]
            assert info["input"]["required"]["levels"] == ["INT", {"min": 2, "max": 256, "default": 4}]
            ended = await here.run({
                "1": GRAY, "2": n("JsPosterize", image=["1", 0], levels=2), "3": n("PreviewImage", images=["2", 0]),
                "4": n("JsTitle", text="two words"),
            })  # fmt: skip
            assert ended.succeeded, ended.of("failed")
            assert saved(here, ended.outputs["3"]).max() == 0 and ended.outputs["4"] == {"text": ["Two Words"]}
            assert len([e for e in ended.of("progress") if e.node_id == "2"]) == 16
            with pytest.raises(grpc.RpcError) as caught:
                await here.submit({"1": n("JsTitle", text="  ")})
            body = from_rpc_error(caught.value).body  # type: ignore[attr-defined]
            assert body["node_errors"]["1"]["errors"][0]["details"] == "text - the text is empty"
