"""kill -9 of real processes at awkward moments: nothing accepted is lost, nothing counts twice, history stays."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import run_service_pb2 as pb

from tests.support.killable import Client, Stack
from tests.support.scripted import prompt

pytestmark = pytest.mark.stack

SIMPLE = prompt(("Step", {"value": 1}))
DONE = event_pb2.RUN_STATE_SUCCEEDED


def gated(path: Path) -> bytes:
    return prompt(("Step", {"value": 1}), ("Gate", {"path": str(path)}), ("Step", {"value": 2}))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    made = Stack(tmp_path)
    yield made
    made.stop()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    async with stack.channel() as channel:
        yield Client(channel)


async def test_front_killed_while_a_run_runs_and_others_wait(stack: Stack, client: Client, tmp_path: Path) -> None:
    front = stack.start("front")
    stack.start("worker")
    await client.submit(SIMPLE, "before")
    await client.ended("before")
    await client.submit(gated(tmp_path / "gate"), "running")
    for number in range(20):
        await client.submit(SIMPLE, f"waiting-{number}")
    await client.begun(stack, "running", "2")
    front.kill()
    front.wait()
    stack.start("front")
    state = await client.run("running")
    assert state.state == event_pb2.RUN_STATE_RUNNING
    (tmp_path / "gate").touch()
    run = await client.ended("running")
    assert (run.state, run.attempts) == (DONE, 1)
    assert stack.ran("running") == [(1, "1"), (1, "2"), (1, "3"), (1, "show")]
    messages = [name for name, _ in json.loads(run.messages_json)]
    assert messages == ["execution_start", "execution_cached", "execution_success"]
    await client.ended("waiting-19")
    history = await client.history()
    assert [entry.run_id for entry in history] == ["before", "running", *(f"waiting-{n}" for n in range(20))]
    assert all(len(stack.ran(f"waiting-{n}")) == 2 for n in range(20))
    again = await client.submit(SIMPLE, "before")
    assert again.number == 0.0 and len(await client.history()) == 22


async def test_front_killed_again_and_again_during_a_burst(stack: Stack, client: Client) -> None:
    front = stack.start("front")
    stack.start("worker")
    accepted: list[str] = []

    async def burst(name: str) -> None:
        for number in range(25):
            await client.submit(SIMPLE, f"{name}-{number}", client_id=name)
            accepted.append(f"{name}-{number}")

    work = asyncio.gather(*(burst(name) for name in "abcd"))
    for target in (10, 40, 70):
        while len(accepted) < target:
            await asyncio.sleep(0.002)
        front.kill()
        front.wait()
        front = stack.start("front")
    await work
    for run_id in accepted:
        assert (await client.ended(run_id)).state == DONE
    ids = [run.run_id for run in await client.history()]
    assert sorted(ids) == sorted(accepted) and len(set(ids)) == 100


async def test_worker_killed_once_the_run_starts_anew_and_says_so(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.start("front")
    first = stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    events: list[Any] = []

    async def watch() -> None:
        request = pb.WatchRunRequest(run_id="run")
        async for answer in client.stub.WatchRun(request, wait_for_ready=True):
            events.append(answer.event)

    watching = asyncio.create_task(watch())
    await client.begun(stack, "run", "2")
    first.kill()
    first.wait()
    stack.start("worker")
    await client.begun(stack, "run", "2", attempt=2)
    (tmp_path / "gate").touch()
    run = await client.ended("run")
    await watching
    assert (run.state, run.attempts) == (DONE, 2)
    kinds = [event.WhichOneof("event") for event in events]
    assert kinds.count("resumed") == 1 and kinds.count("started") == 2 and kinds[-1] == "ended"
    assert next(event.resumed.attempt for event in events if event.HasField("resumed")) == 2
    assert [run.run_id for run in await client.history()] == ["run"]


async def test_a_run_that_takes_two_workers_with_it_fails(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.start("front")
    await client.submit(gated(tmp_path / "never"), "deadly")
    await client.submit(SIMPLE, "next")
    for attempt in (1, 2):
        worker = stack.start("worker")
        await client.begun(stack, "deadly", "2", attempt)
        worker.kill()
        worker.wait()
    run = await client.ended("deadly")
    assert (run.state, run.attempts) == (event_pb2.RUN_STATE_FAILED, 2)
    name, data = json.loads(run.messages_json)[-1]
    assert name == "execution_error" and data["exception_type"] == "WorkerLost"
    stack.start("worker")
    assert (await client.ended("next")).state == DONE


async def test_front_and_worker_killed_together(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.settings["HELIOGRAPH_REATTACH_S"] = "0.5"
    front, worker = stack.start("front"), stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    await client.submit(SIMPLE, "other")
    await client.begun(stack, "run", "2")
    front.kill()
    worker.kill()
    front.wait()
    (tmp_path / "gate").touch()
    stack.start("front")
    stack.start("worker")
    run = await client.ended("run")
    assert (run.state, run.attempts) == (DONE, 2)
    assert (await client.ended("other")).state == DONE


async def test_worker_asked_to_end_gives_its_run_back(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.settings["HELIOGRAPH_WORKER_DRAIN_S"] = "0.2"
    stack.start("front")
    for attempt in (1, 2, 3):  # no loss: it may happen more often than a crash may
        worker = stack.start("worker")
        await client.submit(gated(tmp_path / "gate"), "run")
        await client.begun(stack, "run", "2", attempt)
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 10) == 0
        assert (await client.run("run")).state == event_pb2.RUN_STATE_PENDING
    (tmp_path / "gate").touch()
    stack.start("worker")
    run = await client.ended("run")
    assert (run.state, run.attempts) == (DONE, 4)


async def test_worker_asked_to_end_finishes_a_short_run(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.start("front")
    worker = stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    await client.begun(stack, "run", "2")
    worker.terminate()
    (tmp_path / "gate").touch()
    assert await asyncio.to_thread(worker.wait, 10) == 0
    run = await client.run("run")
    assert (run.state, run.attempts) == (DONE, 1)


async def test_a_frozen_worker_loses_its_lease_and_is_not_believed_later(
    stack: Stack, client: Client, tmp_path: Path
) -> None:
    stack.settings["HELIOGRAPH_LEASE_S"] = "0.8"
    stack.start("front")
    frozen = stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    await client.begun(stack, "run", "2")
    frozen.send_signal(signal.SIGSTOP)
    stack.start("worker")
    await client.begun(stack, "run", "2", attempt=2)
    (tmp_path / "gate").touch()
    frozen.send_signal(signal.SIGCONT)
    run = await client.ended("run")
    assert (run.state, run.attempts) == (DONE, 2)
    assert [entry.run_id for entry in await client.history()] == ["run"]
    await client.submit(SIMPLE, "after")
    assert (await client.ended("after")).state == DONE


async def test_front_ends_gracefully_and_the_worker_comes_back(stack: Stack, client: Client, tmp_path: Path) -> None:
    front = stack.start("front")
    stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    await client.begun(stack, "run", "2")
    front.terminate()
    assert await asyncio.to_thread(front.wait, 10) == 0
    stack.start("front")
    (tmp_path / "gate").touch()
    run = await client.ended("run")
    assert (run.state, run.attempts) == (DONE, 1)
    assert len(stack.ran("run")) == 4


async def test_a_stop_asked_before_the_worker_died_is_kept(stack: Stack, client: Client, tmp_path: Path) -> None:
    stack.start("front")
    worker = stack.start("worker")
    await client.submit(gated(tmp_path / "gate"), "run")
    await client.begun(stack, "run", "2")
    worker.send_signal(signal.SIGSTOP)
    await client.stub.CancelRun(pb.CancelRunRequest(run_ids=["run"]))
    worker.kill()
    run = await client.ended("run")
    assert (run.state, run.attempts) == (event_pb2.RUN_STATE_INTERRUPTED, 1)
    assert json.loads(run.messages_json)[-1][0] == "execution_interrupted"
