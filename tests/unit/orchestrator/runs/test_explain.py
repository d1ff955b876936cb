"""What a workflow would do: missing things with what is near, likely cached nodes, expected time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.engine.events import Executing, NodeState, NodeStates
from orchestrator.graph.declare import catalogue_of
from orchestrator.graph.prompt import from_json
from orchestrator.graph.validate import validate
from orchestrator.nodes.catalogue import builtin_nodes
from orchestrator.runs.explain import MAX_MISSING, Explanation, explain, likenesses
from orchestrator.runs.measured import MAX_RECENT, Measured, Pace, Timing

CATALOGUE = catalogue_of(builtin_nodes())


class Lists:
    def model_files(self, folder: str) -> tuple[str, ...]:
        return ("v1-5-pruned.safetensors", "other.ckpt") if folder == "checkpoints" else ()

    def input_files(self, content: str) -> tuple[str, ...]:
        return ("photo.png",)

    def input_exists(self, annotated_name: str) -> bool:
        return annotated_name == "photo.png"


def explained(prompt: dict[str, Any], measured: Measured | None = None) -> Explanation:
    graph = from_json(prompt)
    return explain(graph, validate(graph, CATALOGUE, Lists()), CATALOGUE, Lists(), measured or Measured())


def picture(width: int = 64) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": width, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
        "4": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    }


def timing(**seconds: float) -> Timing:
    clock = Timing()
    for node_id, took in seconds.items():
        clock.see(Executing(node_id[1:], node_id[1:]), 1000)
        state = NodeState(node_id[1:], 1, 1, True, node_id[1:], "", node_id[1:])
        clock.see(NodeStates((state,)), 1000 + round(took * 1000))
    return clock


def test_what_is_needed_and_how_long_it_takes() -> None:
    measured = Measured()
    measured.learn(timing(n1=1.0, n2=2.0), json.dumps(picture()).encode())
    found = explained(picture(65), measured)
    assert found.refusal is None and not found.missing_nodes and not found.missing_files
    assert (found.runs, found.recent) == (("1", "2", "3"), ())
    assert found.seconds == pytest.approx(3.0)
    assert found.unmeasured == ("SaveImage",)


def test_what_ran_lately_takes_no_time_and_another_size_is_another_thing() -> None:
    measured = Measured()
    measured.learn(timing(n1=1.0, n2=2.0, n3=4.0), json.dumps(picture()).encode())
    measured.remember(likenesses(from_json(picture())).values())
    assert explained(picture(), measured).recent == ("1", "2", "3")
    assert explained(picture(), measured).seconds == 0
    renamed = {"9" + key: value for key, value in picture().items()}
    renamed["92"] = {"class_type": "ImageInvert", "inputs": {"image": ["91", 0]}}
    renamed["93"] = {"class_type": "SaveImage", "inputs": {"images": ["92", 0], "filename_prefix": "x"}}
    assert explained(renamed, measured).recent == ("91", "92", "93")
    assert explained(picture(65), measured).seconds == pytest.approx(7.0)
    measured.forget_recent()
    assert explained(picture(), measured).seconds == pytest.approx(7.0)


def test_steps_multiply_and_old_runs_fade() -> None:
    measured = Measured([Pace("KSampler", 1.0, 5)])
    assert measured.seconds("KSampler", {"steps": 20}) == 20
    clock = Timing()
    clock.see(Executing("1", "1"), 0)
    clock.see(NodeStates((NodeState("1", 10, 10, True, "1", "", "1"),)), 20_000)
    (pace,) = measured.learn(clock, b'{"1": {"class_type": "KSampler"}}')
    assert pace == Pace("KSampler", pytest.approx(1.3), 6)
    assert measured.seconds("Unheard", {}) is None


def test_missing_nodes_and_files_come_with_the_nearest() -> None:
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimpel", "inputs": {}},
        "2": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5-prunned.safetensors"}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "foto.png"}},
        "4": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "5": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": ["1", 0]}},
    }
    found = explained(prompt)
    assert found.refusal is not None and found.refusal["error"]["type"] == "invalid_prompt"  # type: ignore[index,call-overload]
    (node,) = found.missing_nodes
    assert (node.node_id, node.nearest[0]) == ("1", "CheckpointLoaderSimple")
    assert [(file.node_id, file.input, file.folder, file.nearest) for file in found.missing_files] == [
        ("2", "ckpt_name", "checkpoints", ("v1-5-pruned.safetensors",)), ("3", "image", "input", ("photo.png",)),
    ]  # fmt: skip


def test_everything_is_bounded() -> None:
    found = explained({str(k): {"class_type": f"Nope{k}", "inputs": {}} for k in range(MAX_MISSING + 50)})
    assert len(found.missing_nodes) == MAX_MISSING
    measured = Measured()
    measured.remember(str(number) for number in range(MAX_RECENT + 10))
    assert not measured.is_recent("0") and measured.is_recent(str(MAX_RECENT))


def test_circles_and_odd_prompts_are_survived() -> None:
    loop = {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}
    found = explained({"1": loop, "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}, "3": {}})
    assert found.refusal is not None
    assert set(likenesses(from_json({"1": loop}))) == {"1"}
