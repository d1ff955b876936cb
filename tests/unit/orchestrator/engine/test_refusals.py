"""What the engine itself refuses, and how it tells that memory is short."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from orchestrator.engine.failure import failed
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Link, NodeOutput
from orchestrator.ports import Ctx
from tests.unit.orchestrator.engine.bench import Anything, Bench, Image
from tests.unit.orchestrator.engine.test_run import failure


@node("Takes", category="t", output_node=True)
def takes(ctx: Ctx, image: Image, *, mask: Annotated[Any, Link("MASK")] = None) -> NodeOutput:
    return NodeOutput(ui={"text": ["reached"]})


@node("TakesAnything", category="t", output_node=True)
def takes_anything(ctx: Ctx, value: Anything) -> NodeOutput:
    return NodeOutput(ui={"text": [str(value)]})


def _takes(**inputs: object) -> dict[str, Any]:
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "color": 1}},
        "2": {"class_type": "Takes", "inputs": inputs},
    }


@pytest.mark.parametrize("value", ["1", 7, True, {"a": 1}, None])
def test_a_value_where_a_link_belongs(value: object) -> None:
    bench = Bench(takes)
    assert bench.run(_takes(image=value)).state == "failed"
    told = failure(bench)
    assert (told.node_id, told.reason, told.facts["input"]) == ("2", "NOT_A_LINK", "image")
    assert told.facts["expected"] == "IMAGE"


def test_an_optional_link_may_be_null() -> None:
    bench = Bench(takes)
    assert bench.run(_takes(image=["1", 0], mask=None)).state == "succeeded"
    assert bench.run(_takes(image=["1", 0], mask=3)).state == "failed"


def test_an_input_for_anything_takes_a_value() -> None:
    bench = Bench(takes_anything)
    outcome = bench.run({"1": {"class_type": "TakesAnything", "inputs": {"value": 5}}})
    assert outcome.outputs["1"] == {"text": ["5"]}


def test_an_allocation_that_fails_says_what_helps() -> None:
    error = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1234 bytes. Error code 12")
    told = failed("1", "T", error, executed=(), node_ids=("1",), inputs={}, debug=False)
    assert (told.reason, dict(told.facts)) == ("NO_MEMORY", {"bytes": "1234"})
    assert "smaller picture" in told.exception_message and "DefaultCPU" not in told.exception_message
