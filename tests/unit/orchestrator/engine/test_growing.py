"""Lazy inputs, expansion into subgraphs, blocked execution: as ComfyUI's own execution tests describe them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import pytest

from orchestrator.engine import events
from orchestrator.graph.declare import BadDeclaration, node
from orchestrator.graph.spec import Blocker, Int, Link, NodeOutput, Output
from orchestrator.ports import Ctx
from tests.unit.orchestrator.engine.bench import Anything, Bench
from tests.unit.orchestrator.engine.test_run import executing, fail, failure, n, number, of, show

Number = Annotated[int, Int(default=0)]
Lazy = Annotated[Any, Link("*", options={"lazy": True})]
Raw = Annotated[Any, Link("FLOW", options={"rawLink": True})]


def wants_by_switch(ctx: Ctx, switch: int, first: Any, second: Any) -> list[str]:
    return [name for name, value in (("first", first), ("second", second)) if value is None and name in NAMES[switch]]


NAMES = {0: ("first",), 1: ("second",), 2: ("first", "second"), 3: ()}


@node("Choose", category="t", outputs=(("*", "*"),), lazy=wants_by_switch)
def choose(ctx: Ctx, switch: Number, *, first: Lazy = None, second: Lazy = None) -> tuple[Any]:
    return (f"{first}/{second}",)


def choosing(switch: Any, first: str = "a", second: str = "b") -> dict[str, Any]:
    return {"class_type": "Choose", "inputs": {"switch": switch, "first": [first, 0], "second": [second, 0]}}


@pytest.mark.parametrize(
    ("switch", "shown", "order"),
    [
        (0, "1/None", ["c", "a", "c", "s"]),
        (1, "None/2", ["c", "b", "c", "s"]),
        (2, "1/2", ["c", "a", "b", "c", "s"]),
        (3, "None/None", ["c", "s"]),
    ],
)
def test_only_what_a_node_asks_for_runs(switch: int, shown: str, order: list[str]) -> None:
    bench = Bench(number, show, choose)
    outcome = bench.run({"a": n(1), "b": n(2), "c": choosing(switch), "s": of("Show", "c")})
    assert outcome.outputs["s"] == {"text": [shown]}
    assert executing(bench) == order


def test_what_another_node_needs_is_there_for_the_lazy_one() -> None:
    bench = Bench(number, show, choose)
    outcome = bench.run({"a": n(1), "b": n(2), "c": choosing(1), "s": of("Show", "c"), "t": of("Show", "a")})
    assert outcome.state == "succeeded"
    assert "a" in executing(bench)


def test_a_lazy_input_found_in_the_cache_does_not_run_again() -> None:
    bench = Bench(number, show, choose)
    bench.run({"a": n(1), "s": of("Show", "a")})
    outcome = bench.run({"a": n(1), "b": n(2), "c": choosing(0), "s": of("Show", "c")})
    assert outcome.outputs["s"] == {"text": ["1/None"]}
    assert executing(bench) == ["c", "s"]


def test_each_call_of_a_list_may_ask_for_another_input() -> None:
    @node("Switches", category="t", outputs=(Output("INT", "INT", is_list=True),))
    def switches(ctx: Ctx) -> tuple[list[int]]:
        return ([0, 1],)

    bench = Bench(number, show, choose, switches)
    prompt = {"x": {"class_type": "Switches", "inputs": {}}, "a": n(1), "b": n(2), "c": choosing(["x", 0])}
    outcome = bench.run({**prompt, "s": of("Show", "c")})
    assert outcome.outputs["s"] == {"text": ["1/2", "1/2"]}
    assert executing(bench)[:4] == ["x", "c", "a", "b"] or executing(bench)[:4] == ["x", "c", "b", "a"]


def test_failure_of_a_lazy_source_is_the_runs() -> None:
    bench = Bench(number, show, choose, fail)
    outcome = bench.run({"a": of("Fail", "z"), "z": n(1), "b": n(2), "c": choosing(0), "s": of("Show", "c")})
    assert outcome.state == "failed" and failure(bench).node_id == "a"
    assert bench.run({"a": of("Fail", "z"), "z": n(1), "b": n(2), "c": choosing(1), "s": of("Show", "c")}).state == (
        "succeeded"
    )


def test_lazy_inputs_and_the_function_that_asks_come_together() -> None:
    with pytest.raises(BadDeclaration, match="lazy"):

        @node("Half", category="t", outputs=(("*", "*"),))
        def half(ctx: Ctx, *, first: Lazy = None) -> tuple[Any]:
            return (first,)


@node("Twice", category="t", outputs=(("*", "*"),), expands=True, hidden=(("unique_id", "UNIQUE_ID"),))
def twice(ctx: Ctx, value: Anything, *, unique_id: Any = None) -> NodeOutput:
    """(value + value), by two nodes."""
    one, two = f"{unique_id}.0.0.1", f"{unique_id}.0.0.2"
    nodes: dict[str, Any] = {one: of("Add", "", value=value, other=0), two: of("Add", one, one)}
    return NodeOutput(result=([two, 0],), expand=nodes)


@node("Add", category="t", outputs=(("*", "*"),))
def add(ctx: Ctx, value: Anything, other: Anything) -> tuple[Any]:
    return (value + other,)


def test_children_run_in_place_of_their_parent() -> None:
    bench = Bench(number, show, twice, add)
    outcome = bench.run({"a": n(4), "t": of("Twice", "a"), "s": of("Show", "t")})
    assert outcome.outputs["s"] == {"text": ["8"]}
    assert executing(bench) == ["a", "t", "t.0.0.1", "t.0.0.2", "s"]
    assert [e.display_node_id for e in bench.events if isinstance(e, events.Executing)] == ["a", "t", "t", "t", "s"]
    last = [event for event in bench.events if isinstance(event, events.NodeStates)][-1]
    child = next(state for state in last.nodes if state.node_id == "t.0.0.2")
    assert (child.display_node_id, child.parent_node_id, child.real_node_id) == ("t", "t", "t")
    assert all(state.finished for state in last.nodes)


def test_an_expanded_node_is_cached_as_a_whole() -> None:
    bench = Bench(number, show, twice, add)
    prompt = {"a": n(4), "t": of("Twice", "a"), "s": of("Show", "t")}
    bench.run(prompt)
    outcome = bench.run({**prompt, "more": of("Show", "t", extra=1)})
    assert outcome.outputs["more"] == {"text": ["8"]}
    assert executing(bench) == ["more"]


def test_equal_children_are_found_in_the_cache() -> None:
    bench = Bench(number, show, twice, add)
    bench.run({"a": n(4), "t": of("Twice", "a"), "s": of("Show", "t")})
    outcome = bench.run({"b": n(4, undeclared=1), "u": of("Twice", "b"), "s": of("Show", "u")})
    assert outcome.outputs["s"] == {"text": ["8"]}
    assert executing(bench) == ["b", "u", "s"]


@node("CountDown", category="t", outputs=(("*", "*"),), expands=True, hidden=(("unique_id", "UNIQUE_ID"),))
def count_down(ctx: Ctx, value: Anything, total: Anything, *, unique_id: Any = None) -> NodeOutput:
    """A loop by recursion: adds value, value - 1 ... to total."""
    if value == 0:
        return NodeOutput(result=(total,))
    names = [f"{unique_id}.0.0.{k}" for k in range(3)]
    return NodeOutput(
        result=([names[2], 0],),
        expand={
            names[0]: of("Add", "", value=value, other=-1),
            names[1]: of("Add", "", value=value, other=total),
            names[2]: {"class_type": "CountDown", "inputs": {"value": [names[0], 0], "total": [names[1], 0]}},
        },
    )


def test_a_loop_by_recursion() -> None:
    bench = Bench(number, show, add, count_down)
    prompt = {"a": n(5), "l": {"class_type": "CountDown", "inputs": {"value": ["a", 0], "total": 0}}}
    outcome = bench.run({**prompt, "s": of("Show", "l")})
    assert outcome.outputs["s"] == {"text": ["15"]}
    assert {state.real_node_id for e in bench.events if isinstance(e, events.NodeStates) for state in e.nodes} == {
        "a", "l", "s",
    }  # fmt: skip


@node("Mixed", category="t", outputs=(("*", "*"),), expands=True, hidden=(("unique_id", "UNIQUE_ID"),))
def mixed(ctx: Ctx, value: Anything, *, unique_id: Any = None) -> NodeOutput:
    """Odd values as they are, even ones doubled by a graph."""
    if value % 2:
        return NodeOutput(result=(value,))
    child = f"{unique_id}.{value}.0.1"
    return NodeOutput(result=([child, 0],), expand={child: of("Add", "", value=value, other=value)})


@node("Range", category="t", outputs=(Output("INT", "INT", is_list=True),))
def ranged(ctx: Ctx, count: Number) -> tuple[list[int]]:
    return (list(range(count)),)


def test_calls_of_a_list_may_expand_or_not() -> None:
    bench = Bench(show, add, mixed, ranged)
    prompt = {"r": {"class_type": "Range", "inputs": {"count": 5}}, "m": of("Mixed", "r"), "s": of("Show", "m")}
    assert bench.run(prompt).outputs["s"] == {"text": ["0", "1", "4", "3", "8"]}


def test_outputs_inside_an_expansion_run_and_are_in_the_outcome() -> None:
    @node("Showing", category="t", outputs=(("*", "*"),), expands=True)
    def showing(ctx: Ctx, value: Anything) -> NodeOutput:
        return NodeOutput(result=(value,), expand={"child": of("Show", "", value=value)})

    bench = Bench(number, show, showing)
    outcome = bench.run({"a": n(3), "x": of("Showing", "a"), "s": of("Show", "x")})
    assert outcome.outputs["child"] == {"text": ["3"]}
    assert outcome.meta["child"] == {
        "node_id": "child", "display_node": "x", "parent_node": "x", "real_node_id": "x",
    }  # fmt: skip


def expanding_to(nodes: Mapping[str, Any], link: str) -> Bench:
    @node("Expand", category="t", outputs=(("*", "*"),), expands=True)
    def expand(ctx: Ctx, value: Anything) -> NodeOutput:
        return NodeOutput(result=([link, 0],), expand=dict(nodes))

    bench = Bench(number, show, add, fail, twice, expand)
    assert bench.run({"a": n(3), "x": of("Expand", "a"), "s": of("Show", "x")}).state == "failed"
    return bench


@pytest.mark.parametrize(
    ("nodes", "link", "reason"),
    [
        ({"c": of("Add", "d", "d"), "d": of("Add", "c", "c")}, "c", "EXPANSION_CYCLE"),
        ({"c": of("Add", "x", "x")}, "c", "EXPANSION_CYCLE"),
        ({"c": of("Add", "nowhere", "a")}, "c", "EXPANSION_LINKS"),
        ({"c": n(1)}, "nowhere", "EXPANSION_LINKS"),
        ({"a": n(1)}, "a", "EXPANSION_IDS"),
        ({"c": {"class_type": "Unheard", "inputs": {}}}, "c", "NODE_UNKNOWN"),
        ({"c": {"class_type": "Number"}}, "c", "EXPANSION_NODE"),
    ],
)
def test_a_bad_expansion_fails_the_node_that_made_it(nodes: dict[str, Any], link: str, reason: str) -> None:
    told = failure(expanding_to(nodes, link))
    assert (told.node_id, told.reason) == ("x", reason)


def test_a_failing_child_is_told_as_its_submitted_node() -> None:
    told = failure(expanding_to({"c": of("Fail", "a")}, "c"))
    assert (told.node_id, told.node_type, told.reason) == ("x", "Fail", "NODE_MODE")


def test_a_graph_from_a_node_that_does_not_say_so_is_refused() -> None:
    @node("Secret", category="t", outputs=(("*", "*"),))
    def secret(ctx: Ctx, value: Anything) -> NodeOutput:
        return NodeOutput(result=(["c", 0],), expand={"c": n(1)})

    bench = Bench(number, show, secret)
    assert bench.run({"a": n(3), "x": of("Secret", "a"), "s": of("Show", "x")}).state == "failed"
    assert failure(bench).reason == "NODE_RESULT"


def test_raw_links_and_the_grown_graph_are_given_to_who_asks() -> None:
    seen: dict[str, Any] = {}

    @node("Open", category="t", outputs=(("FLOW", "FLOW"),))
    def opened(ctx: Ctx) -> tuple[int]:
        return (1,)

    @node("Close", category="t", outputs=(("*", "*"),), hidden=(("graph", "DYNPROMPT"),))
    def closed(ctx: Ctx, flow: Raw, *, graph: Any = None) -> tuple[int]:
        seen.update(flow=flow, type=graph["o"]["class_type"], nodes=list(graph))
        return (2,)

    bench = Bench(show, opened, closed)
    prompt = {"o": {"class_type": "Open", "inputs": {}}, "c": {"class_type": "Close", "inputs": {"flow": ["o", 0]}}}
    bench.run({**prompt, "s": of("Show", "c")})
    assert seen == {"flow": ["o", 0], "type": "Open", "nodes": ["o", "c", "s"]}


@node("Block", category="t", outputs=(("*", "*"), ("*", "*")))
def block(ctx: Ctx, value: Anything, *, message: Annotated[str, Link("*")] = "") -> tuple[Any, Any]:
    return (Blocker(message or None) if value % 2 == 0 else value, value)


def test_blocked_nodes_do_not_run_and_the_run_succeeds() -> None:
    bench = Bench(number, show, add, block)
    prompt = {"a": n(2), "b": of("Block", "a"), "c": of("Add", "b", "a"), "s": of("Show", "c")}
    outcome = bench.run({**prompt, "t": {"class_type": "Show", "inputs": {"value": ["b", 1]}}})
    assert outcome.state == "succeeded"
    assert outcome.outputs == {"t": {"text": ["2"]}}
    assert isinstance(bench.events[-1], events.Succeeded)
    assert not [event for event in bench.events if isinstance(event, events.Failed)]


def test_a_blocker_with_a_message_is_told_once_and_the_run_goes_on() -> None:
    bench = Bench(number, show, add, block)
    prompt = {"a": n(2), "b": of("Block", "a", message="not today"), "c": of("Add", "b", "a"), "s": of("Show", "c")}
    outcome = bench.run(prompt)
    assert outcome.state == "succeeded"
    told = failure(bench)
    assert (told.node_id, told.exception_type, told.exception_message) == (
        "c", "ExecutionBlocked", "Execution Blocked: not today",
    )  # fmt: skip
    assert isinstance(bench.events[-1], events.Succeeded)


def test_only_the_blocked_elements_of_a_list_are_left_out() -> None:
    bench = Bench(show, add, block, ranged)
    prompt = {"r": {"class_type": "Range", "inputs": {"count": 4}}, "b": of("Block", "r"), "s": of("Show", "b")}
    assert bench.run(prompt).outputs["s"] == {"text": ["1", "3"]}
