"""What a run does besides telling: lanes, cancel, errors, memory, inputs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Annotated, Any

import pytest

from kit.errors import Stopped, Unsupported
from orchestrator.engine import events
from orchestrator.engine.cancel import Cancel
from orchestrator.graph.declare import node
from orchestrator.graph.prompt import from_json
from orchestrator.graph.spec import Int, NodeOutput, Output, Text
from orchestrator.ports import Ctx
from tests.unit.orchestrator.engine.bench import Anything, Bench

Number = Annotated[int, Int(default=0)]


@node("Number", category="t", outputs=(("INT", "INT"),))
def number(ctx: Ctx, n: Number) -> tuple[int]:
    return (n,)


@node("Show", category="t", output_node=True, outputs=(("*", "*"),))
def show(ctx: Ctx, value: Anything) -> NodeOutput:
    return NodeOutput({"text": [str(value)]}, (value,))


@node("Fail", category="t", outputs=(("*", "*"),))
def fail(ctx: Ctx, value: Anything) -> tuple[Any]:
    raise Unsupported("cannot do it", reason="NODE_MODE", mode="x")


def n(value: Any, **more: Any) -> dict[str, Any]:
    return {"class_type": "Number", "inputs": {"n": value, **more}}


def of(class_type: str, *sources: str, **more: Any) -> dict[str, Any]:
    names = ["value", "other", "third"]
    return {"class_type": class_type, "inputs": {**{name: [s, 0] for name, s in zip(names, sources)}, **more}}


def failure(bench: Bench) -> events.Failed:
    (event,) = (event for event in bench.events if isinstance(event, events.Failed))
    return event


def executing(bench: Bench) -> list[str]:
    return [event.node_id for event in bench.events if isinstance(event, events.Executing)]


def test_order_prefers_outputs_and_their_feeders() -> None:
    prompt = {
        "far": n(1), "near": of("Pass", "far"), "deep": of("Pass", "near"), "late": of("Show", "deep"),
        "quick": of("Show", "q"), "q": n(2),
    }  # fmt: skip

    @node("Pass", category="t", outputs=(("*", "*"),))
    def passed(ctx: Ctx, value: Anything) -> tuple[Any]:
        return (value,)

    bench = Bench(number, show, passed)
    bench.run(prompt)
    assert executing(bench) == ["q", "quick", "far", "near", "deep", "late"]


def test_typed_error_carries_reason_and_facts() -> None:
    bench = Bench(number, show, fail)
    outcome = bench.run({"1": n(1), "2": of("Fail", "1"), "3": of("Show", "2")})
    told = failure(bench)
    assert outcome.state == "failed" and outcome.executed == ("1",)
    assert (told.reason, dict(told.facts), told.exception_type) == ("NODE_MODE", {"mode": "x"}, "Unsupported")
    assert told.exception_message == "cannot do it (mode=x)\n" and told.traceback == ()
    assert isinstance(bench.events[-1], events.Failed)
    assert len(bench.cache) == 1  # what had finished is kept


def test_traceback_only_when_debugging() -> None:
    bench = Bench(number, show, fail, debug=True)
    bench.run({"1": n(1), "2": of("Fail", "1"), "3": of("Show", "2")})
    assert any("in fail" in line for line in failure(bench).traceback)


@pytest.mark.parametrize("name", ["MemoryError", "torch.OutOfMemoryError"])
def test_out_of_memory_frees_what_other_prompts_left(name: str) -> None:
    module, _, kind = name.rpartition(".")
    error = MemoryError if not module else type(kind, (RuntimeError,), {"__module__": module})

    @node("Hungry", category="t", outputs=(("*", "*"),))
    def hungry(ctx: Ctx, value: Anything) -> tuple[Any]:
        raise error("no memory")

    bench = Bench(number, show, hungry)
    bench.run({"1": n(99), "2": of("Show", "1")})
    bench.run({"1": n(1), "2": of("Hungry", "1"), "3": of("Show", "2")})
    assert failure(bench).reason == "NO_MEMORY" and failure(bench).exception_type == name
    assert len(bench.cache) == 1


def test_wrong_results_are_told() -> None:
    for value in (5, None, (1, 2), NodeOutput({}, ())):

        @node("Wrong", category="t", outputs=(("INT", "INT"),), output_node=True)
        def wrong(ctx: Ctx) -> NodeOutput:
            return value  # type: ignore[return-value]  # noqa: B023  # called before the next one is made

        bench = Bench(wrong)
        assert bench.run({"1": {"class_type": "Wrong", "inputs": {}}}).state == "failed"
        assert failure(bench).reason == "NODE_RESULT"


def test_empty_list_is_told() -> None:
    @node("None", category="t", outputs=(Output("INT", "INT", is_list=True),))
    def none(ctx: Ctx) -> tuple[list[int]]:
        return ([],)

    bench = Bench(none, show)
    assert bench.run({"1": {"class_type": "None", "inputs": {}}, "2": of("Show", "1")}).state == "failed"
    assert failure(bench).reason == "EMPTY_LIST"


def test_shorter_lists_repeat_their_last_element() -> None:
    @node("Many", category="t", outputs=(Output("INT", "INT", is_list=True),))
    def many(ctx: Ctx, count: Number) -> tuple[list[int]]:
        return (list(range(count)),)

    @node("Pair", category="t", output_node=True)
    def pair(ctx: Ctx, value: Anything, other: Anything, name: Annotated[str, Text()]) -> NodeOutput:
        return NodeOutput({"text": [f"{name}{value}{other}"]})

    bench = Bench(many, pair)
    prompt = {"3": {"class_type": "Many", "inputs": {"count": 3}}, "2": {"class_type": "Many", "inputs": {"count": 2}}}
    outcome = bench.run({**prompt, "p": of("Pair", "3", "2", name="n")})
    assert outcome.outputs["p"] == {"text": ["n00", "n11", "n21"]}


def test_undeclared_links_run_and_are_passed_if_the_function_takes_them() -> None:
    @node("Open", category="t", output_node=True)
    def taker(ctx: Ctx, value: Anything, **more: Any) -> NodeOutput:
        return NodeOutput({"text": [str(sorted(more.items()))]})

    bench = Bench(number, show, taker)
    undeclared = {"extra": ["2", 0], "literal": 5, "ctx": ["2", 0]}
    outcome = bench.run(
        {"1": n(1), "2": n(2), "o": of("Open", "1", **undeclared), "s": of("Show", "1", extra=["2", 0])}
    )
    assert outcome.outputs["o"] == {"text": ["[('extra', 2)]"]}
    assert outcome.state == "succeeded" and "2" in outcome.executed


def test_hidden_inputs_and_unique_id() -> None:
    @node("Who", category="t", output_node=True, hidden=(("me", "UNIQUE_ID"), ("info", "EXTRA_PNGINFO")))
    def who(ctx: Ctx, *, me: str = "", info: Any = None) -> NodeOutput:
        return NodeOutput({"text": [me, str(info)]})

    bench = Bench(who)
    prompt = {node_id: {"class_type": "Who", "inputs": {}} for node_id in ("a", "b")}
    outcome = bench.run(prompt)
    assert outcome.outputs == {"a": {"text": ["a", "{'workflow': 1}"]}, "b": {"text": ["b", "{'workflow': 1}"]}}
    assert bench.run({"c": prompt["a"]}).cached == ()


def test_cancel_before_a_node_names_it_and_runs_nothing_more() -> None:
    bench = Bench(number, show)
    bench.on_event = lambda event: bench.cancel.set() if isinstance(event, events.Executing) else None
    outcome = bench.run({"1": n(1), "2": of("Show", "1")})
    assert outcome.state == "interrupted" and outcome.executed == ()
    assert bench.events[-1] == events.Interrupted("1", "Number", ())


def test_cancel_between_the_calls_of_a_list() -> None:
    seen: list[int] = []

    @node("Many", category="t", outputs=(Output("INT", "INT", is_list=True),))
    def many(ctx: Ctx) -> tuple[list[int]]:
        return ([1, 2, 3],)

    @node("Each", category="t", output_node=True)
    def each(ctx: Ctx, value: Anything) -> NodeOutput:
        seen.append(value)
        bench.cancel.set()
        return NodeOutput()

    bench = Bench(many, each)
    outcome = bench.run({"1": {"class_type": "Many", "inputs": {}}, "2": of("Each", "1")})
    assert (outcome.state, seen) == ("interrupted", [1])


def test_async_nodes_run_beside_each_other_and_are_cancelled() -> None:
    started: list[str] = []

    @node("Wait", category="t", output_node=True)
    async def wait(ctx: Ctx, name: Annotated[str, Text()]) -> NodeOutput:
        started.append(ctx.node_id)
        if len(started) == 2:
            bench.cancel.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench = Bench(wait)
    prompt = {i: {"class_type": "Wait", "inputs": {"name": i}} for i in ("a", "b")}
    assert bench.run(prompt).state == "interrupted"
    assert started == ["a", "b"]


def test_async_node_that_never_waits_is_done_before_the_next_begins() -> None:
    @node("Quick", category="t", output_node=True)
    async def quick(ctx: Ctx, name: Annotated[str, Text()]) -> NodeOutput:
        ctx.progress(1, 3)
        return NodeOutput({"text": [name]})

    bench = Bench(quick)
    bench.run({i: {"class_type": "Quick", "inputs": {"name": i}} for i in ("a", "b")})
    told = [(type(e).__name__, getattr(e, "node_id", "")) for e in bench.events if not isinstance(e, events.NodeStates)]
    each = [[("Executing", i), ("Progress", i), ("Executed", i)] for i in ("a", "b")]
    assert told[2:-1] == each[0] + each[1]


def test_lanes_run_beside_each_other_with_more_slots() -> None:
    meet = threading.Barrier(3, timeout=30)

    @node("Cpu", category="t", output_node=True)
    def cpu(ctx: Ctx, n: Number) -> NodeOutput:
        meet.wait()
        return NodeOutput({"text": ["c"]})

    @node("Gpu", category="t", output_node=True, lane="accelerator")
    def gpu(ctx: Ctx, n: Number) -> NodeOutput:
        meet.wait()
        return NodeOutput({"text": ["g"]})

    bench = Bench(cpu, gpu, cpu_slots=2)
    prompt = {"1": ("Cpu", 1), "2": ("Cpu", 2), "3": ("Gpu", 1)}
    outcome = bench.run({i: {"class_type": c, "inputs": {"n": v}} for i, (c, v) in prompt.items()})
    assert outcome.state == "succeeded" and len(outcome.outputs) == 3


def test_one_slot_means_one_after_the_other() -> None:
    inside = threading.Semaphore(1)

    def alone() -> NodeOutput:
        assert inside.acquire(blocking=False), "two nodes at once"
        inside.release()
        return NodeOutput()

    @node("Cpu", category="t", output_node=True)
    def cpu(ctx: Ctx, n: Number) -> NodeOutput:
        return alone()

    @node("Gpu", category="t", output_node=True, lane="accelerator")
    def gpu(ctx: Ctx, n: Number) -> NodeOutput:
        return alone()

    bench = Bench(cpu, gpu)
    prompt = {str(i): {"class_type": ("Cpu", "Gpu")[i % 2], "inputs": {"n": i}} for i in range(20)}
    assert bench.run(prompt).state == "succeeded"
    assert executing(bench) == [str(i) for i in range(20)]


def test_failure_stops_others_and_keeps_what_they_finish() -> None:
    begun, failed = threading.Event(), threading.Event()

    @node("Slow", category="t", output_node=True)
    def slow(ctx: Ctx, n: Number) -> NodeOutput:
        begun.set()
        assert failed.wait(30)
        with pytest.raises(Stopped):
            ctx.progress(1, 2)
        return NodeOutput({"text": ["late"]})

    @node("Break", category="t", output_node=True)
    def broken(ctx: Ctx, n: Number) -> NodeOutput:
        assert begun.wait(30)
        raise ValueError("no")

    bench = Bench(slow, broken, cpu_slots=2)
    bench.on_event = lambda event: failed.set() if isinstance(event, events.Failed) else None
    outcome = bench.run({i: {"class_type": c, "inputs": {"n": 1}} for i, c in (("1", "Slow"), ("2", "Break"))})
    assert outcome.state == "failed" and outcome.executed == ("1",)
    assert isinstance(bench.events[-1], events.Failed) and bench.events[-1].executed == ()
    assert outcome.outputs == {"1": {"text": ["late"]}}


def test_fingerprints_decide() -> None:
    content, calls = {"a": "1"}, list[str]()

    def digest(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
        if content["a"] == "gone":
            raise FileNotFoundError
        return content["a"] if content["a"] != "nan" else None

    @node("File", category="t", outputs=(("*", "*"),), fingerprint=digest)
    def file(ctx: Ctx, name: Annotated[str, Text()]) -> tuple[str]:
        calls.append(content["a"])
        return (content["a"],)

    bench = Bench(file, show)
    prompt = {"1": {"class_type": "File", "inputs": {"name": "a"}}, "2": of("Show", "1")}
    for value in ("1", "1", "2", "1", "nan", "nan", "gone", "gone"):
        content["a"] = value
        assert bench.run(prompt).outputs["2"] == {"text": [value]}
    # Back at "1" the value is still known, but its output is shown anew.
    assert calls == ["1", "2", "nan", "nan", "gone", "gone"]


def test_nodes_of_another_version_of_the_catalogue_are_refused() -> None:
    bench = Bench(number, show)
    for prompt in (
        {"1": {"class_type": "Newer", "inputs": {}}, "2": of("Show", "1")},
        {"2": of("Show", "9")},
    ):
        assert bench.run(prompt).state == "failed"
        assert failure(bench).reason == "NODE_UNKNOWN"


def test_values_nobody_needs_are_let_go() -> None:
    class Big:
        nbytes = 1000
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    @node("Grow", category="t", outputs=(("*", "*"),))
    def grow(ctx: Ctx, value: Anything) -> tuple[Any]:
        assert Big.alive <= 2
        return (Big(),)

    bench = Bench(number, grow, show, max_bytes=500)
    chain = {str(i): of("Grow", str(i - 1)) for i in range(1, 10)}
    outcome = bench.run({"0": n(1), **chain, "s": of("Show", "9")})
    assert outcome.state == "succeeded"


def test_outer_cancellation_stops_threads_and_leaves_nothing() -> None:
    inside, ended = threading.Event(), threading.Event()

    @node("Loop", category="t", output_node=True)
    def loop(ctx: Ctx, n: Number) -> NodeOutput:
        inside.set()
        try:
            while True:
                ctx.progress(1, 2)
        finally:
            ended.set()

    bench = Bench(loop)

    async def scenario() -> None:
        graph = from_json({"1": {"class_type": "Loop", "inputs": {"n": 1}}})
        run = asyncio.create_task(bench.engine.run(graph, ["1"], bench._ctx, lambda event: None, Cancel()))
        await asyncio.to_thread(inside.wait, 30)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert ended.is_set()

    asyncio.run(scenario())


def test_close_ends_the_threads() -> None:
    bench = Bench(number, show)
    bench.run({"1": n(1), "2": of("Show", "1")})
    bench.engine.close()
    assert not [thread for threads in bench.engine.threads.values() for thread in threads._threads if thread.is_alive()]
