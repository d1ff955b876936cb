"""Clients of ComfyUI from npm, and one from PyPI that needs its own environment, each along its own quick start."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.clients import installed
from tests.e2e.conftest import CHECKPOINT
from tests.support import reference, workflows
from tests.support.stack import Stack
from tests.support.workflows import write_picture

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
Write = Callable[..., Path]
EMPTY_QUEUE: dict[str, list[object]] = {"queue_running": [], "queue_pending": []}


def run_script(name: str, *arguments: str) -> dict[str, Any]:
    folder = installed.npm_folder()
    report: dict[str, Any] = json.loads(installed.run("node", f"{name}.mjs", *arguments, cwd=folder))
    return report


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return picture.size


def test_comfy_ui_client(address: str, workflow: Write, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "input.png")
    report = run_script("comfy-ui-client", address, str(workflow("text-to-image")), str(tmp_path), str(source))
    (saved,) = report["saved"]
    assert size(tmp_path / saved) == (64, 64)
    assert report["seeds"][-1] == 5
    assert report["uploaded"] == {"name": "from-node.png", "subfolder": "", "type": "input"}
    assert report["queue"] == EMPTY_QUEUE and report["remaining"] == 0
    assert report["nodes"] > 100 and report["sampler"] == ["KSampler"]
    assert report["embeddings"] == list(reference.EMBEDDINGS)
    assert report["system"]["comfyui_version"] == "0.3.64"
    refusal = json.loads(report["refusal"])
    assert refusal["error"]["type"] == "prompt_outputs_failed_validation"
    assert refusal["node_errors"]["5"]["errors"][0]["type"] == "value_smaller_than_min"


def test_saintno_comfyui_sdk(stack: Stack, address: str, workflow: Write, tmp_path: Path) -> None:
    source = write_picture(tmp_path / "input.png")
    report = run_script("comfyui-sdk", address, str(workflow("text-to-image")), str(tmp_path), str(source))
    assert size(tmp_path / report["saved"]) == (64, 64)
    assert report["address"].startswith(f"{stack.rest}/view?filename={report['saved']}")
    assert report["cached"] == report["saved"] and report["pending"] == 3
    assert report["progress"][-1] == ["5", 4, 4]
    assert report["stopped"] == "The execution was interrupted!" and report["queue"] == EMPTY_QUEUE
    assert CHECKPOINT in report["checkpoints"] and report["osType"] == "posix" and report["sampler"]
    assert report["history"] == "success"
    assert report["uploaded"]["info"]["subfolder"] == "sdk"
    assert report["setting"] == {"from": "comfyui-sdk"}


def test_stable_canvas_comfyui_client(stack: Stack, address: str, workflow: Write, tmp_path: Path) -> None:
    report = run_script("stable-canvas", address, str(workflow("text-to-image")), str(tmp_path))
    assert report["piped"] == ["image/png"] and size(tmp_path / "pipe.png") == (64, 128)
    assert report["pipeProgress"][-1] == [3, 3]
    # It guesses the kind from the end of an address that it made itself, ...&type=output.
    assert report["invoked"] == ["url"] and report["kind"] == "data:image/jpeg;base64"
    assert size(tmp_path / "workflow.png") == (64, 64)
    assert report["progress"][-1] == [3, 3]
    for found in (report["enqueued"], report["polled"]):
        assert len(found) == 1 and found[0].startswith(f"{stack.rest}/view?filename=text-to-image_")
    assert report["stopped"] == "Execution has been interrupted"
    assert report["left"] == {"Running": [], "Pending": []}
    assert report["os"] == "posix" and report["samplers"] and report["schedulers"]


def test_comfy_api_client(stack: Stack, address: str, workflow: Write, tmp_path: Path) -> None:
    interpreter = installed.python_with_clients()
    script = installed.HERE / "python" / "comfy_api_client_quick_start.py"
    printed = installed.run(
        str(interpreter), str(script), address, str(workflow("no-model")), str(tmp_path), cwd=tmp_path
    )
    report = json.loads(printed)
    pictures = [tmp_path / name for name in report["files"]]
    assert [size(path) for path in pictures] == [(128, 80)] * 2
    for path, colour in zip(pictures, workflows.expectation("no-model")["pixels"]):
        with Image.open(path) as picture:
            assert picture.getpixel((3, 3)) == pytest.approx(tuple(colour), abs=1)  # saving truncates
    assert report["completed"] and isinstance(report["number"], int) and report["again"] == report["files"]
    assert report["uploaded"] == {"name": "mine.png", "subfolder": "api-client", "type": "input"}
    assert report["mask"]["name"] == "mask.png"
    assert report["retrieved"] == ["mine.png", "png", 128, 80] and report["missing"] is None
    assert report["queue"] == [0, 0] and report["removed"] == {}
    assert report["system"]["os"] == "posix"
