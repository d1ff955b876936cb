"""Events of a run, message for message as ComfyUI 0.3.64 was recorded sending them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from orchestrator.engine import events
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Link
from orchestrator.ports import Ctx, PreviewImage
from tests.unit.orchestrator.engine.bench import Anything, Bench

RECORDED = Path(__file__).resolve().parents[3] / "golden" / "http" / "ws_samples.json"
SAMPLES = {sample["name"]: sample["messages"] for sample in json.loads(RECORDED.read_text())["samples"]}


def recorded(name: str) -> list[dict[str, Any]]:
    """What the engine is responsible for: no queue status, no end mark, no binary frames, no ids and times."""

    def stripped(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: stripped(item) for key, item in value.items() if key not in ("prompt_id", "timestamp")}

    texts = [stripped(sent) for sent in SAMPLES[name] if not sent.get("binary")]
    return [m for m in texts if m["type"] != "status" and m["data"].get("node", "") is not None]


def shown_files(name: str) -> list[dict[str, str]]:
    sent = [m["data"]["output"]["images"] for m in recorded(name) if m["type"] == "executed"]
    return [file for images in sent for file in images]


def image(color: int = 0) -> dict[str, Any]:
    return {"class_type": "EmptyImage", "inputs": {"width": 8, "color": color}}


def consumer(class_type: str, source: str, **inputs: Any) -> dict[str, Any]:
    name = "image" if class_type == "ImageInvert" else "images"
    return {"class_type": class_type, "inputs": {name: [source, 0], **inputs}}


def four(prefix: str = "rec/a") -> dict[str, Any]:
    return {
        "1": image(),
        "2": consumer("ImageInvert", "1"),
        "3": consumer("SaveImage", "2", filename_prefix=prefix),
        "4": consumer("PreviewImage", "1"),
    }


def test_fresh_cached_and_partly_cached_runs() -> None:
    bench = Bench()
    bench.files = shown_files("full_run_fresh")
    outcome = bench.run(four())
    assert bench.messages() == recorded("full_run_fresh")
    assert outcome.state == "succeeded" and outcome.executed == ("1", "4", "2", "3")

    bench.log.clear()
    again = bench.run(four())
    assert bench.messages() == [*recorded("full_run_all_cached")]
    assert again.outputs == outcome.outputs and not bench.log

    bench.files = shown_files("partly_cached_one_node_changed")[:1]
    preview = shown_files("partly_cached_one_node_changed")[1]
    changed = bench.run(four("rec/b"))
    assert changed.outputs["4"]["images"] == shown_files("full_run_fresh")[:1]
    got, wanted = bench.messages(), recorded("partly_cached_one_node_changed")
    assert preview == shown_files("full_run_fresh")[0]
    assert got == wanted


def test_failed_run() -> None:
    @node("TestSyncError", category="t", outputs=(("*", "*"),))
    def fail(ctx: Ctx, value: Anything) -> tuple[int]:
        raise RuntimeError("Intentional sync execution error for testing")

    bench = Bench(fail)
    bench.files = shown_files("runtime_error")
    failing = {"class_type": "TestSyncError", "inputs": {"value": ["1", 0]}}
    prompt = {"1": image(), "2": failing, "3": consumer("PreviewImage", "2"), "4": consumer("PreviewImage", "1")}
    outcome = bench.run(prompt)
    wanted, got = recorded("runtime_error"), bench.messages()
    told, recorded_error = got.pop()["data"], wanted.pop()["data"]
    assert got == wanted
    for order_is_arbitrary in ("executed", "current_outputs"):
        assert sorted(told.pop(order_is_arbitrary)) == sorted(recorded_error.pop(order_is_arbitrary))
    assert told.pop("current_inputs") == {"value": [0]}  # an integer stands for the recorded tensor
    recorded_error.pop("current_inputs")
    assert told == recorded_error
    assert outcome.state == "failed" and list(outcome.outputs) == ["4"]


def test_list_mapping() -> None:
    bench = Bench()
    bench.files = shown_files("list_mapping")
    prompt = {
        "1": image(),
        "2": consumer("RebatchImages", "1", batch_size=1),
        "3": consumer("PreviewImage", "2"),
        "4": consumer("ImageInvert", "2"),
        "5": consumer("SaveImage", "4", filename_prefix="lst"),
    }
    bench.run(prompt)
    assert bench.messages() == recorded("list_mapping")
    assert [name for name, _ in bench.log].count("ImageInvert") == 3


def test_progress_with_previews() -> None:
    bench = Bench()
    bench.run({"1": image(), "save_ws": consumer("SaveImageWebsocket", "1")})
    assert bench.messages() == recorded("save_image_websocket")
    kinds = [type(event).__name__ for event in bench.events]
    at = kinds.index("Previewed")
    assert kinds[at - 1 : at + 2] == ["NodeStates", "Previewed", "Progress"]


def test_a_line_of_text_is_shown_before_the_node_is_done() -> None:
    @node("TestSpeaks", category="t", outputs=(("*", "*"),))
    def speaks(ctx: Ctx, value: Annotated[Any, Link("*")]) -> tuple[Any]:
        ctx.show_text("halfway")
        return (value,)

    bench = Bench(speaks)
    said = {"class_type": "TestSpeaks", "inputs": {"value": ["1", 0]}}
    bench.run({"1": image(), "2": said, "3": consumer("PreviewImage", "2")})
    (at,) = [index for index, event in enumerate(bench.events) if isinstance(event, events.Previewed)]
    assert bench.events[at] == events.Previewed("2", "2", "", "2", PreviewImage("text/plain", b"halfway"))
    kinds = [type(event).__name__ for event in bench.events if getattr(event, "node_id", None) == "2"]
    assert kinds == ["Executing", "Previewed"]


def test_interrupted_run() -> None:
    tail = recorded("interrupted")
    values = [m["data"]["nodes"]["2"]["value"] for m in tail if m["type"] == "progress_state"]

    @node("TestSleep", category="t", outputs=(("*", "*"),))
    def sleep(ctx: Ctx, value: Annotated[Any, Link("*")]) -> tuple[Any]:
        for done in values:
            ctx.progress(done, 8.0)
        bench.cancel.set()
        ctx.progress(8.0, 8.0)
        raise AssertionError("a cancelled node must stop at its next step")

    bench = Bench(sleep)
    prompt = {
        "1": image(),
        "2": {"class_type": "TestSleep", "inputs": {"value": ["1", 0]}},
        "3": consumer("PreviewImage", "2"),
    }
    outcome = bench.run(prompt)
    got = [m for m in bench.messages() if m["type"] != "progress"]  # the recording has lost them
    assert got[-len(tail) :] == tail
    assert outcome.state == "interrupted" and not outcome.outputs
    assert not any(isinstance(event, events.Succeeded) for event in bench.events)


def test_identical_nodes_run_once() -> None:
    bench = Bench()
    bench.files = [{"filename": "a.png", "subfolder": "", "type": "output"}]
    prompt = {
        "a": image(),
        "b": image(),
        "s": consumer("SaveImage", "a", filename_prefix="x"),
        "t": consumer("SaveImage", "b", filename_prefix="x"),
    }
    outcome = bench.run(prompt)
    assert [name for name, _ in bench.log] == ["EmptyImage", "SaveImage"]
    told = [m["data"] for m in bench.messages() if m["type"] == "executed"]
    shown = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}
    assert [(data["node"], data["output"]) for data in told] == [("s", shown), ("b", None), ("t", shown)]
    executing = [m["data"]["node"] for m in bench.messages() if m["type"] == "executing"]
    assert executing == ["a", "s"]
    assert outcome.outputs == {"s": shown, "t": shown}
    assert outcome.meta["t"]["node_id"] == "s"


@pytest.mark.parametrize("name", ["full_run_fresh", "full_run_all_cached", "runtime_error", "list_mapping"])
def test_recording_has_what_is_compared(name: str) -> None:
    assert len(recorded(name)) >= 6
