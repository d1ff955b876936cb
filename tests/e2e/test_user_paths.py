"""What a user does, through real processes: the command line, the gRPC example, the polling script, our workflows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import CHECKPOINT
from tests.support import workflows
from tests.support.asking import Asking
from tests.support.stack import REPO, Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]
LORA = "synth_lora_a.safetensors"


def heliograph(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HELIOGRAPH_FRONT_ADDRESS": stack.front}
    command = (sys.executable, "-m", "cli.main", *arguments)
    return subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=200)


def write_workflow(stack: Stack, folder: Path, name: str, **changes: object) -> Path:
    workflows.write_picture(stack.data / "input" / "example.png")
    graph = workflows.on_synthetic_weights(workflows.load(name), CHECKPOINT, LORA, "example.png")
    for target, value in changes.items():
        node, _, key = target.removeprefix("n").partition("_")
        graph[node]["inputs"][key] = value
    path = folder / f"{name}.json"
    path.write_text(json.dumps(graph))
    return path


@pytest.mark.parametrize("name", [name for name in workflows.names() if name not in workflows.on_starter()])
def test_each_workflow_gives_what_its_expectation_says(stack: Stack, tmp_path: Path, name: str) -> None:
    result = heliograph(stack, "run", str(write_workflow(stack, tmp_path, name)), "--out", str(tmp_path / "pictures"))
    assert result.returncode == 0, result.stderr
    pictures = [Path(line).read_bytes() for line in result.stdout.split("\n") if line]
    shrink = 1 if name == "no-model" else 4
    assert not workflows.problems(workflows.expectation(name), pictures, shrink=shrink)


def test_set_changes_the_picture_and_a_picture_runs_again_to_itself(stack: Stack, tmp_path: Path) -> None:
    workflow = write_workflow(stack, tmp_path, "text-to-image")
    first = heliograph(stack, "run", str(workflow), "--set", "5.seed=7", "--out", str(tmp_path / "a")).stdout.strip()
    other = heliograph(stack, "run", str(workflow), "--set", "5.seed=8", "--out", str(tmp_path / "b")).stdout.strip()
    again = heliograph(
        stack, "run", first, "--set", "7.filename_prefix=again", "--out", str(tmp_path / "c")
    ).stdout.strip()
    assert _pixels(Path(first)) != _pixels(Path(other))
    assert _pixels(Path(first)) == _pixels(Path(again))


def _pixels(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as picture:
        return picture.tobytes()


def test_an_unknown_checkpoint_is_named(stack: Stack, tmp_path: Path) -> None:
    workflow = write_workflow(stack, tmp_path, "text-to-image", n1_ckpt_name="absent.safetensors")
    result = heliograph(stack, "run", str(workflow))
    assert result.returncode == 1
    assert "Value not in list" in result.stderr and "absent.safetensors" in result.stderr


def test_interrupting_the_command_cancels_its_run(stack: Stack, tmp_path: Path) -> None:
    workflow = write_workflow(stack, tmp_path, "text-to-image", n5_steps=10_000)
    environment = {**os.environ, "HELIOGRAPH_FRONT_ADDRESS": stack.front, "PYTHONUNBUFFERED": "1"}
    command = (sys.executable, "-m", "cli.main", "run", str(workflow), "--out", str(tmp_path))
    with subprocess.Popen(
        command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        _wait_for_running(stack)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert _queue(stack) == {"queue_running": [], "queue_pending": []}


def _queue(stack: Stack) -> dict[str, list[object]]:
    import requests

    found: dict[str, list[object]] = requests.get(stack.rest + "/queue", timeout=10).json()
    return found


def _wait_for_running(stack: Stack) -> None:
    from websockets.sync.client import connect

    with connect(stack.rest.replace("http", "ws") + "/ws?clientId=watcher") as socket:
        for message in socket:
            if isinstance(message, str) and json.loads(message)["type"] in ("progress", "progress_state"):
                return


def test_the_grpc_example_downloads_the_picture(stack: Stack, tmp_path: Path) -> None:
    command = (sys.executable, "examples/submit_and_watch.py", "workflows/no-model.json")
    subprocess.run((*command, "--server", stack.front, "--out", str(tmp_path)), cwd=REPO, check=True, timeout=100)
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_the_polling_example_downloads_the_picture(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("run_workflow", REPO / "examples" / "run_workflow.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    saved = module.run_workflow(str(write_workflow(stack, tmp_path, "text-to-image")), stack.rest)
    assert [path.suffix for path in saved] == [".png"]
    assert saved[0].stat().st_size > 0


def test_reflection_lists_the_services(stack: Stack) -> None:
    import grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(stack.front) as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert {"heliograph.graph.v1.RunService", "heliograph.artifact.v1.ArtifactService"} <= services


def test_pictures_come_over_the_socket_and_leave_no_file(stack: Stack) -> None:
    """Also when the same prompt is sent again: nothing was kept that could be told again."""
    asking = Asking(stack)
    before = {path for area in ("output", "temp") for path in (stack.data / area).rglob("*")}
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 255}},
        "s": {"class_type": "SaveImageWebsocket", "inputs": {"images": ["1", 0]}},
    }
    with connect(stack.rest.replace("http", "ws", 1) + "/ws?clientId=me") as client:
        for _ in range(2):
            run_id, pictures = asking.submit(graph, client_id="me"), []
            while not is_end(message := client.recv(timeout=60)):
                pictures += [message] if isinstance(message, bytes) else []
            assert [picture[:12] for picture in pictures] == [bytes([0, 0, 0, 1, 0, 0, 0, 2]) + b"\x89PNG"] * 2
            assert asking.get(f"/history/{run_id}").json()[run_id]["outputs"] == {}
    assert {path for area in ("output", "temp") for path in (stack.data / area).rglob("*")} == before


def is_end(message: str | bytes) -> bool:
    """The mark that a run is over."""
    told = json.loads(message) if isinstance(message, str) else {}
    return told.get("type") == "executing" and told["data"].get("node") is None
