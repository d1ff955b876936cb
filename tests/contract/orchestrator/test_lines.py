"""WorkerService.Work over a real server: what is lent ahead is still pending, and comes back when it has to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import run_service_pb2 as runs_pb
from heliograph.graph.v1 import worker_service_pb2 as pb

from kit.errors import InvalidRequest, Unready
from kit.status import from_rpc_error
from tests.support.fronts import Running, running_front
from tests.support.scripted import prompt

SIMPLE = prompt(("Step", {"value": 1}))
DONE = event_pb2.RUN_STATE_SUCCEEDED


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_front(tmp_path) as running:
        yield running


class Hand:
    """A worker made of single messages."""

    def __init__(self, front: Running, name: str = "w", ahead: int = 3, held: tuple[pb.Attach, ...] = ()) -> None:
        self.call = front.workers.Work()
        self.hello = pb.WorkerHello(worker_id=name, ahead=ahead, held=held)
        self.leases: dict[str, pb.Lease] = {}  # by run
        self.told: dict[str, list[str]] = {"recalled": [], "stored": [], "lost": [], "cancelled": []}

    async def greet(self) -> Hand:
        await self.call.write(pb.WorkRequest(hello=self.hello))
        return self

    async def until(self, met: Any) -> None:
        """Reads on until something is so."""
        async with asyncio.timeout(20):
            while not met():
                answer: Any = await self.call.read()
                assert answer is not grpc.aio.EOF
                self.leases.update({lease.run_id: lease for lease in answer.leases})
                for name, ids in self.told.items():
                    ids.extend(getattr(answer, f"{name}_lease_ids"))

    async def holds(self, *run_ids: str) -> None:
        await self.until(lambda: set(run_ids) <= set(self.leases))
        assert set(self.leases) == set(run_ids)

    async def say(self, run_id: str, *kinds: str, state: Any = None) -> None:
        """Begun; events by name; outcome."""
        report = pb.LeaseReport(lease_id=self.leases[run_id].lease_id, begun=True)
        for kind in kinds:
            getattr(report.events.add(timestamp_ms=1), kind).SetInParent()
        if state is not None:
            report.outcome.state = state
        await self.call.write(pb.WorkRequest(reports=[report]))

    async def give_back(self, *run_ids: str) -> None:
        await self.call.write(pb.WorkRequest(returned_lease_ids=[self.leases.pop(r).lease_id for r in run_ids]))

    def id_of(self, run_id: str) -> str:
        return self.leases[run_id].lease_id


async def submit(to: Running, *names: str, **fields: Any) -> None:
    for name in names:
        await to.submit(SIMPLE, prompt_id=name, **fields)


async def queue(front: Running) -> str:
    """Running | pending."""
    answer = await front.runs.ListQueue(runs_pb.ListQueueRequest())
    assert (answer.running_count, answer.pending_count) == (len(answer.running), len(answer.pending))
    return " ".join(run.run_id for run in answer.running) + " | " + " ".join(run.run_id for run in answer.pending)


async def eventually(front: Running, expected: str) -> None:
    async with asyncio.timeout(20):
        while await queue(front) != expected:
            await asyncio.sleep(0.005)


async def test_what_is_lent_ahead_is_pending_until_its_turn_and_ends_in_order(front: Running) -> None:
    hand = await Hand(front, ahead=2).greet()
    await submit(front, "a", "b", "c", "d", client_id="me")
    await hand.holds("a", "b", "c")
    assert [hand.leases[name].attempt for name in "abc"] == [1, 1, 1]
    assert await queue(front) == "a | b c d"
    watching = asyncio.create_task(front.ended("b"))
    await hand.say("a", "started", "succeeded", state=DONE)
    await hand.say("b", "started")
    await eventually(front, "b | c d")
    await hand.until(lambda: "d" in hand.leases and hand.told["stored"] == [hand.id_of("a")])
    await hand.say("b", "succeeded", state=DONE)
    assert [event.WhichOneof("event") for event in await watching] == ["started", "succeeded", "ended"]
    for name in "cd":
        await hand.say(name, state=DONE)
    await eventually(front, " | ")
    assert [run.run_id for run in await front.history()] == ["a", "b", "c", "d"]
    assert all(run.attempts == 1 and run.started_ms for run in await front.history())


async def test_a_worker_that_dies_loses_only_the_run_that_it_worked_on(front: Running) -> None:
    hand = await Hand(front).greet()
    await submit(front, "a", "b", "c")
    await hand.holds("a", "b", "c")
    await hand.say("a")
    await hand.say("b")  # so it has computed "a", whose outcome never comes
    async with asyncio.timeout(20):  # nobody is told of "b" while "a" has not ended
        while (await front.run("b")).state != event_pb2.RUN_STATE_RUNNING:
            await asyncio.sleep(0.005)
    hand.call.cancel()
    again = await Hand(front, "x").greet()
    await again.holds("a", "b", "c")
    assert [again.leases[name].attempt for name in "abc"] == [2, 2, 1]
    await again.say("a", state=DONE)
    await again.say("b")
    again.call.cancel()  # the second worker that "b" takes with it
    last = await Hand(front, "y").greet()
    await last.until(lambda: "c" in last.leases)
    assert (await front.run("b")).state == event_pb2.RUN_STATE_FAILED
    assert last.leases["c"].attempt == 1 and "b" not in last.leases


async def test_another_worker_with_nothing_to_do_gets_what_was_lent(front: Running) -> None:
    busy = await Hand(front, "busy").greet()
    await submit(front, "a", "b", "c")
    await busy.holds("a", "b", "c")
    await busy.say("a", "started")
    idle = await Hand(front, "idle").greet()
    b, c = busy.id_of("b"), busy.id_of("c")
    await busy.until(lambda: set(busy.told["recalled"]) == {b, c})
    await busy.give_back("b", "c")
    await idle.until(lambda: "b" in idle.leases)
    await eventually(front, "a b | c")
    assert idle.leases["b"].attempt == 1 and idle.id_of("b") != b


async def test_removing_a_lent_run_waits_for_the_worker_to_say_that_it_has_not_begun(front: Running) -> None:
    hand = await Hand(front).greet()
    await submit(front, "a", "b", "c")
    await hand.holds("a", "b", "c")
    removing = asyncio.ensure_future(front.runs.DeletePending(runs_pb.DeletePendingRequest(run_ids=["b", "c"])))
    await hand.until(lambda: len(hand.told["recalled"]) == 2)
    assert not removing.done()
    await hand.say("a", state=DONE)
    await hand.say("b", "started")  # it had begun when the question came
    await hand.give_back("c")
    assert (await removing).deleted == 1
    await eventually(front, "b | ")
    cancelling = await front.runs.CancelRun(runs_pb.CancelRunRequest(run_ids=["b"], include_pending=True))
    assert list(cancelling.run_ids) == ["b"]
    await hand.until(lambda: hand.told["cancelled"] == [hand.id_of("b")])


async def test_interrupting_stops_what_runs_and_nothing_that_is_lent(front: Running) -> None:
    hand = await Hand(front).greet()
    await submit(front, "a", "b")
    await hand.holds("a", "b")
    assert list((await front.runs.CancelRun(runs_pb.CancelRunRequest())).run_ids) == ["a"]
    await hand.until(lambda: hand.told["cancelled"] == [hand.id_of("a")])
    await hand.say("a", state=event_pb2.RUN_STATE_INTERRUPTED)
    await hand.say("b", state=DONE)
    await eventually(front, " | ")
    assert [run.state for run in await front.history()] == [event_pb2.RUN_STATE_INTERRUPTED, DONE]


async def test_a_run_that_goes_first_is_not_kept_waiting_by_what_was_lent(front: Running) -> None:
    hand = await Hand(front, ahead=2).greet()
    await submit(front, "a", "b", "c")
    await hand.holds("a", "b", "c")
    await submit(front, "urgent", front=True)
    assert await queue(front) == "a | urgent b c"
    await hand.until(lambda: len(hand.told["recalled"]) == 2)
    await hand.give_back("b", "c")
    await hand.until(lambda: {"urgent", "b"} <= set(hand.leases))
    assert list(hand.leases) == ["a", "urgent", "b"]


async def test_a_lost_lease_is_not_believed_and_a_return_is_no_loss(front: Running) -> None:
    hand = await Hand(front, ahead=0).greet()
    await submit(front, "a")
    await hand.holds("a")
    first = hand.leases["a"]
    for attempt in (2, 3, 4):
        await hand.say("a", state=event_pb2.RUN_STATE_PENDING)
        await hand.until(lambda attempt=attempt: hand.leases["a"].attempt == attempt)
    held = pb.Attach(run_id="a", lease_id=first.lease_id)
    other = await Hand(front, "other", held=(held,)).greet()
    await other.until(lambda: other.told["lost"] == [first.lease_id])
    late = pb.LeaseReport(lease_id=first.lease_id, outcome=pb.RunOutcome(state=DONE))
    await hand.call.write(pb.WorkRequest(reports=[late]))
    await hand.until(lambda: hand.told["lost"] == [first.lease_id])
    assert await queue(front) == "a | "


async def test_a_worker_that_leaves_gets_nothing_more(front: Running) -> None:
    hand = await Hand(front, ahead=1).greet()
    await submit(front, "a", "b", "c")
    await hand.holds("a", "b")
    await hand.call.write(pb.WorkRequest(leaving=True, returned_lease_ids=[hand.leases.pop("b").lease_id]))
    await hand.say("a", state=DONE)
    await hand.call.done_writing()
    while (answer := await hand.call.read()) is not grpc.aio.EOF:
        assert isinstance(answer, pb.WorkResponse) and not answer.leases
    assert await hand.call.code() == grpc.StatusCode.OK
    assert await queue(front) == " | b c"
    assert not (await front.runs.GetSystem(runs_pb.GetSystemRequest())).workers


async def test_a_silent_worker_is_sent_away(tmp_path: Path) -> None:
    async with running_front(tmp_path, lease_s=0.2) as front:
        hand = await Hand(front).greet()
        await submit(front, "a")
        await hand.until(lambda: "a" in hand.leases)
        with pytest.raises(grpc.RpcError) as ended:
            await hand.until(lambda: False)
        error = from_rpc_error(ended.value)
        assert isinstance(error, Unready) and error.reason == "SILENT"
        assert (await front.run("a")).state == event_pb2.RUN_STATE_PENDING


async def test_the_first_message_names_the_worker(front: Running) -> None:
    call = front.workers.Work()
    await call.write(pb.WorkRequest(leaving=True))
    with pytest.raises(grpc.RpcError) as refused:
        await call.read()
    assert isinstance(from_rpc_error(refused.value), InvalidRequest)


async def test_a_stopping_front_sends_workers_away(front: Running) -> None:
    hand = await Hand(front).greet()
    await submit(front, "a")
    await hand.holds("a")
    front.front.stopping.set()
    with pytest.raises(grpc.RpcError) as ended:
        await hand.until(lambda: False)
    error = from_rpc_error(ended.value)
    assert isinstance(error, Unready) and error.reason == "STOPPING"


async def test_a_stop_reaches_the_worker_even_if_asked_before_it_reports(front: Running) -> None:
    hand = await Hand(front).greet()
    await submit(front, "a")
    await front.runs.CancelRun(runs_pb.CancelRunRequest(run_ids=["a"]))
    await hand.holds("a")
    await hand.until(lambda: hand.told["cancelled"] == [hand.id_of("a")])


async def test_after_a_restart_a_run_that_was_lent_and_begun_is_claimed(tmp_path: Path) -> None:
    async with running_front(tmp_path) as front:
        hand = await Hand(front).greet()
        await submit(front, "a", "b", "c")
        await hand.holds("a", "b", "c")
        leases = hand.leases
    held = tuple(pb.Attach(run_id=name, lease_id=leases[name].lease_id) for name in "ab")
    async with running_front(tmp_path) as front:
        assert await queue(front) == "a | b c"
        again = await Hand(front, held=held).greet()
        await again.until(lambda: "c" in again.leases)
        again.leases.update({name: leases[name] for name in "ab"})
        for name in "abc":
            await again.say(name, state=DONE)
        await eventually(front, " | ")
        assert [(run.run_id, run.attempts) for run in await front.history()] == [("a", 1), ("b", 1), ("c", 1)]
        assert not again.told["lost"]
