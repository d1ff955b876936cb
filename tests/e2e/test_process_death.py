"""kill -9 of the worker, the front, the bridge, everything: what was accepted is kept, what was finished stays."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from heliograph.graph.v1 import event_pb2

from tests.e2e.test_model_death import STEPS, pixels, undisturbed
from tests.support import graphs
from tests.support.asking import MODULES, Asking, kill, message, process_ids, replaced, socket_of
from tests.support.stack import Stack, running_stack, wait_until_answering

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
SETTINGS = {"HELIOGRAPH_HEARTBEAT_S": "0.5", "HELIOGRAPH_REATTACH_S": "8", "HELIOGRAPH_WORKER_DRAIN_S": "0.5"}
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(models, tmp_path_factory.mktemp("deaths"), extra=SETTINGS) as running:
        yield running


@pytest.fixture
def asking(stack: Stack) -> Asking:
    return Asking(stack)


def _half_files(data: Path) -> list[Path]:
    return [path for area in ("input", "output", "temp") for path in (data / area).glob(".partial/*")]


def test_a_worker_killed_once_and_the_run_begins_anew(asking: Asking, stack: Stack) -> None:
    graph = graphs.text_to_image(seed=80, steps=STEPS)
    expected = undisturbed(asking, graph)
    run_id = asking.submit(graph)
    asking.until(run_id, "progress", 3)
    victim = kill(stack, "worker")
    assert asking.until(run_id, "resumed").resumed.attempt == 2
    assert pixels(asking, run_id) == expected
    assert list(SHARED_MEMORY.glob(f"heliograph-{victim}-*")) == []


def test_a_run_that_loses_two_workers_fails_and_says_so(asking: Asking, stack: Stack) -> None:
    run_id = asking.submit(graphs.text_to_image(seed=81, steps=1000))
    asking.until(run_id, "progress", 2)
    replaced(stack, "worker", kill(stack, "worker"))
    asking.until(run_id, "resumed")
    asking.until(run_id, "started", 2)
    kill(stack, "worker")
    entry = asking.ended(run_id)
    name, error = entry["status"]["messages"][-1]
    assert (name, error["exception_type"], error["reason"]) == ("execution_error", "WorkerLost", "WORKER_LOST")
    assert "2 times" in error["exception_message"]
    assert asking.succeed(graphs.text_to_image(seed=82))


def test_a_front_killed_in_the_middle_of_a_run(asking: Asking, stack: Stack) -> None:
    graph = graphs.text_to_image(seed=83, steps=STEPS)
    expected = undisturbed(asking, graph)
    finished = asking.submit(graphs.plain(colour=83))
    asking.ended(finished)
    run_id = asking.submit(graph)
    waiting = [asking.submit(graphs.plain(colour=840 + number)) for number in range(3)]
    asking.until(run_id, "progress", 3)
    kill(stack, "front")
    assert pixels(asking, run_id) == expected
    assert asking.stack.data.joinpath("heliograph.db").exists()
    for waited in (finished, *waiting):
        assert asking.ended(waited)["status"]["status_str"] == "success"


def test_a_bridge_killed_in_the_middle_of_a_run(asking: Asking, stack: Stack) -> None:
    graph = graphs.text_to_image(seed=85, steps=STEPS)
    with socket_of(stack, "watcher") as socket:
        run_id = asking.submit(graph, client_id="watcher")
        message(socket, "progress")
        kill(stack, "bridge")
    wait_until_answering(stack)
    with socket_of(stack, "watcher") as socket:
        assert message(socket, "status")["status"]["exec_info"]["queue_remaining"] in (0, 1)
        assert asking.ended(run_id)["status"]["status_str"] == "success"


def _kill_everything(stack: Stack) -> list[int]:
    """kill -9 of the supervisor, then of all its services."""
    services = [process for role in MODULES for process in process_ids(stack, role)]
    for process in (stack.process.pid, *services):
        os.kill(process, signal.SIGKILL)
    stack.process.wait()
    return services


def test_everything_killed_and_started_again(models: Path, tmp_path: Path) -> None:
    with running_stack(models, tmp_path, extra=SETTINGS) as first:
        asking = Asking(first)
        done = asking.submit(graphs.plain(colour=90))
        shown = asking.pictures(asking.ended(done)["outputs"])
        running = asking.submit(graphs.text_to_image(seed=91, steps=STEPS))
        waiting = [asking.submit(graphs.plain(colour=900 + number)) for number in range(5)]
        asking.until(running, "progress", 2)
        killed = _kill_everything(first)
    with running_stack(models, tmp_path, extra=SETTINGS) as second:
        asking = Asking(second)
        assert asking.history(done)["status"]["status_str"] == "success" and len(shown) == 1
        for run_id in (running, *waiting):
            assert asking.ended(run_id)["status"]["status_str"] == "success"
        events = [event for event in asking.events(running) if event.HasField("ended")]
        assert events[0].ended.state == event_pb2.RUN_STATE_SUCCEEDED
        assert asking.succeed(graphs.text_to_image(seed=92))
        assert len(asking.get("/history").json()) == 8
        left = [path for process in killed for path in SHARED_MEMORY.glob(f"heliograph-{process}-*")]
        assert left == [] and _half_files(second.data) == []


@pytest.mark.slow
def test_a_run_outlives_any_number_of_orderly_restarts(models: Path, tmp_path: Path) -> None:
    """A worker that is asked to end gives its run back, which is no loss."""
    graph, run_id = graphs.text_to_image(seed=93, steps=60), "long"
    for attempt in range(3):
        with running_stack(models, tmp_path, extra=SETTINGS) as running:
            if attempt == 0:
                Asking(running).submit(graph, prompt_id=run_id)
            Asking(running).until(run_id, "progress", 1)
        assert running.process.returncode == 0, running.log.read_text()[-3000:]
    with running_stack(models, tmp_path, extra=SETTINGS) as running:
        assert pixels(Asking(running), run_id)


def test_a_supervisor_killed_takes_its_services_along(models: Path, tmp_path: Path) -> None:
    """No service is left behind that holds a port or the store."""
    with running_stack(models, tmp_path, extra=SETTINGS) as running:
        services = [process for role in MODULES for process in process_ids(running, role)]
        exits = [os.pidfd_open(process) for process in services]
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
        for each in exits:
            assert select.select([each], [], [], 60)[0], "a service lives on"
            os.close(each)
    with running_stack(models, tmp_path, extra=SETTINGS) as again:
        assert Asking(again).succeed(graphs.plain(colour=94))
