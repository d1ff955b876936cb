"""WorkerService over a real server, with a worker made of single calls."""

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

from kit.errors import Conflict, HeliographError, InvalidRequest, Unready
from kit.status import from_rpc_error
from tests.support.fronts import Running, running_front
from tests.support.scripted import prompt

SIMPLE = prompt(("Step", {"value": 1}))


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_front(tmp_path) as running:
        yield running


async def lease(front: Running, worker_id: str = "w", wait_ms: int = 5000) -> pb.LeaseRunResponse:
    answer = await front.workers.LeaseRun(pb.LeaseRunRequest(worker_id=worker_id, wait_ms=wait_ms))
    assert isinstance(answer, pb.LeaseRunResponse)
    return answer


def attach(leased: pb.Lease) -> pb.ReportRunRequest:
    return pb.ReportRunRequest(attach=pb.Attach(lease_id=leased.lease_id, run_id=leased.run_id))


def outcome(state: Any = event_pb2.RUN_STATE_SUCCEEDED) -> pb.ReportRunRequest:
    return pb.ReportRunRequest(outcome=pb.RunOutcome(state=state))


async def failure(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call.read()
        await call.read()
    return from_rpc_error(caught.value)


async def test_a_lease_comes_the_moment_there_is_work(front: Running) -> None:
    waiting = asyncio.ensure_future(lease(front))
    while not (await front.runs.GetSystem(runs_pb.GetSystemRequest())).workers:
        await asyncio.sleep(0.002)
    receipt = await front.submit(SIMPLE, client_id="c")
    leased = (await waiting).lease
    assert (leased.run_id, leased.attempt, leased.client_id) == (receipt.run_id, 1, "c")
    assert list(leased.outputs_to_execute) == ["show"]
    call = front.workers.ReportRun()
    await call.write(attach(leased))
    assert (await call.read()).HasField("attached")
    await call.write(pb.ReportRunRequest(heartbeat=pb.Heartbeat()))
    await call.write(outcome())
    assert (await call.read()).HasField("outcome_stored")
    assert await call.read() is grpc.aio.EOF
    assert (await front.run(receipt.run_id)).state == event_pb2.RUN_STATE_SUCCEEDED


async def test_an_empty_answer_when_the_wait_is_over(front: Running) -> None:
    assert not (await lease(front, wait_ms=20)).HasField("lease")


async def test_wrong_reports_are_refused(front: Running) -> None:
    await front.submit(SIMPLE)
    leased = (await lease(front)).lease
    for first in (pb.ReportRunRequest(heartbeat=pb.Heartbeat()), pb.ReportRunRequest(), outcome()):
        call = front.workers.ReportRun()
        await call.write(first)
        assert isinstance(await failure(call), InvalidRequest)
    call = front.workers.ReportRun()
    await call.write(attach(pb.Lease(lease_id="other", run_id=leased.run_id)))
    error = await failure(call)
    assert isinstance(error, Conflict) and error.reason == "LEASE_LOST"
    call = front.workers.ReportRun()
    await call.write(attach(leased))
    await call.write(attach(leased))
    assert isinstance(await failure(call), InvalidRequest)


async def test_a_broken_stream_passes_the_run_on_at_once_and_a_return_too(front: Running) -> None:
    run_id = (await front.submit(SIMPLE)).run_id
    for attempt, broken in ((1, True), (2, False), (3, False)):
        leased = (await lease(front)).lease
        assert (leased.run_id, leased.attempt) == (run_id, attempt)
        call = front.workers.ReportRun()
        await call.write(attach(leased))
        assert (await call.read()).HasField("attached")
        if broken:
            call.cancel()
        else:
            await call.write(outcome(event_pb2.RUN_STATE_PENDING))
            assert await call.read() is grpc.aio.EOF
    assert (await lease(front)).lease.attempt == 4


async def test_a_stop_reaches_the_worker_even_if_asked_before_it_reports(front: Running) -> None:
    run_id = (await front.submit(SIMPLE)).run_id
    leased = (await lease(front)).lease
    await front.runs.CancelRun(runs_pb.CancelRunRequest(run_ids=[run_id]))
    call = front.workers.ReportRun()
    await call.write(attach(leased))
    assert (await call.read()).HasField("attached")
    assert (await call.read()).HasField("cancel")
    await call.write(outcome(event_pb2.RUN_STATE_INTERRUPTED))
    assert (await call.read()).HasField("outcome_stored")


async def test_a_stopping_front_sends_workers_away(front: Running) -> None:
    await front.submit(SIMPLE)
    leased = (await lease(front)).lease
    call = front.workers.ReportRun()
    await call.write(attach(leased))
    assert (await call.read()).HasField("attached")
    front.front.stopping.set()
    error = await failure(call)
    assert isinstance(error, Unready) and error.reason == "STOPPING"
