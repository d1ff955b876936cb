"""Who holds which run: fencing, losses, deadlines, restarts; without sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kit.errors import Busy, Conflict
from orchestrator.engine.events import Cached, Failed, Started, Succeeded
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState
from orchestrator.runs.runs import Runs
from tests.support.runs import open_runs, record


async def leased(runs: Runs, worker: str = "w") -> RunRecord:
    offer = await runs.leasing.lease(worker, 5)
    assert offer.run is not None
    return offer.run


async def settled(runs: Runs, run_id: str) -> RunRecord:
    while (run := await runs.get(run_id)).ended_ms == 0:
        await asyncio.sleep(0.001)
    return run


async def test_only_the_present_holder_is_believed(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        first = await leased(runs)
        old = runs.leasing.attach("r", first.lease_id)
        runs.leasing.detach(old, given_back=False)
        second = await leased(runs, "other")
        assert second.attempts == 2 and second.lease_id != first.lease_id
        new = runs.leasing.attach("r", second.lease_id)
        for act in (
            lambda: runs.leasing.report(old, Started(), 1),
            lambda: runs.leasing.heartbeat(old),
            lambda: runs.leasing.attach("r", first.lease_id),
            lambda: runs.leasing.attach("r", second.lease_id),
            lambda: runs.leasing.attach("unknown", second.lease_id),
        ):
            with pytest.raises(Conflict) as caught:
                act()
            assert caught.value.reason == "LEASE_LOST"
        with pytest.raises(Conflict):
            await runs.leasing.end(old, Outcome(RunState.SUCCEEDED))
        runs.leasing.detach(old, given_back=False)  # a late farewell changes nothing
        await runs.leasing.end(new, Outcome(RunState.SUCCEEDED))
        assert (await runs.get("r")).attempts == 2
        assert len(await runs.history.page(None, None)) == 1


async def test_two_losses_fail_the_run_and_a_return_is_no_loss(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        for given_back in (True, True, False, True, False):
            run = await leased(runs)
            runs.leasing.detach(runs.leasing.attach("r", run.lease_id), given_back=given_back)
        run = await settled(runs, "r")
        assert (run.state, run.losses, run.attempts) == (RunState.FAILED, 2, 5)


async def test_a_silent_holder_loses_the_lease(tmp_path: Path) -> None:
    async with open_runs(tmp_path, heartbeat_s=0.05) as runs:
        await runs.submit(record("r"))
        run = await leased(runs)
        runs.leasing.attach("r", run.lease_id)
        assert (await leased(runs, "other")).attempts == 2


async def test_a_run_that_kills_workers_before_they_report_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with open_runs(tmp_path, attach_s=0.05) as runs:
        await runs.submit(record("r"))
        await leased(runs)
        again = await leased(runs, "other")
        assert (again.attempts, again.losses) == (2, 1)
        assert (await settled(runs, "r")).state is RunState.FAILED


async def test_a_worker_that_hangs_up_while_waiting_gets_nothing(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        waiting = asyncio.create_task(runs.leasing.lease("gone", 5))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await runs.submit(record("r"))
        assert (await leased(runs, "here")).attempts == 1
        assert runs.leasing.worker_count() == 1


async def test_a_worker_that_hangs_up_at_the_last_moment_loses_no_run(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        waiting = asyncio.create_task(runs.leasing.lease("gone", 5))
        await asyncio.sleep(0)
        submitting = asyncio.create_task(runs.submit(record("r")))
        await asyncio.sleep(0)  # the run is promised, the promise not yet durable
        waiting.cancel()
        await submitting
        assert (await leased(runs, "here")).run_id == "r"


async def test_each_run_goes_to_one_worker(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        workers = [asyncio.create_task(leased(runs, f"w{n}")) for n in range(20)]
        await asyncio.sleep(0)
        await asyncio.gather(*(runs.submit(record(f"r{n}")) for n in range(20)))
        got = await asyncio.gather(*workers)
        assert sorted(run.run_id for run in got) == sorted(f"r{n}" for n in range(20))


async def test_waiting_ends_without_work(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        assert (await runs.leasing.lease("w", 0.01)).run is None


async def test_all_workers_are_told_to_free_once(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        idle = asyncio.create_task(runs.leasing.lease("idle", 5))
        await asyncio.sleep(0)
        assert (await runs.leasing.lease("busy", 0.001)).free == FreeRequest()
        runs.leasing.ask_to_free(FreeRequest(unload_models=True))
        runs.leasing.ask_to_free(FreeRequest(free_memory=True))
        assert (await idle).free.unload_models
        assert (await runs.leasing.lease("busy", 0.001)).free == FreeRequest(True, True)
        assert (await runs.leasing.lease("busy", 0.001)).free == FreeRequest()


async def test_a_run_that_was_running_is_claimed_after_a_restart_or_starts_anew(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        for run_id in ("claimed", "orphan", "stopped"):
            await runs.submit(record(run_id))
        held = {run.run_id: run for run in [await leased(runs) for _ in range(3)]}
        for run in held.values():
            runs.leasing.attach(run.run_id, run.lease_id)
        await runs.cancel(["stopped"], include_pending=False)
    async with open_runs(tmp_path, reattach_s=0.1) as runs:
        assert len(runs.queue()[0]) == 3
        lease = runs.leasing.attach("claimed", held["claimed"].lease_id)
        again = await leased(runs)
        assert (again.run_id, again.attempts, again.losses) == ("orphan", 2, 1)
        assert (await settled(runs, "stopped")).state is RunState.INTERRUPTED
        await runs.leasing.end(lease, Outcome(RunState.SUCCEEDED))
        assert (await runs.get("claimed")).attempts == 1


async def test_stored_messages_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        for attempt in (1, 2):
            lease = runs.leasing.attach("r", (await leased(runs)).lease_id)
            runs.leasing.report(lease, Started(), attempt)
            if attempt == 1:
                runs.leasing.detach(lease, given_back=False)
        runs.leasing.report(lease, Cached(("7",)), 3)
        blocked = Failed("1", "X", (), "a branch was blocked", "ExecutionBlocked")
        runs.leasing.report(lease, blocked, 4)
        runs.leasing.report(lease, Succeeded(), 5)
        await runs.leasing.end(lease, Outcome(RunState.SUCCEEDED))
        assert (await runs.get("r")).messages_json.decode() == (
            '[["execution_start", {"prompt_id": "r", "timestamp": 2}], '
            '["execution_cached", {"nodes": ["7"], "prompt_id": "r", "timestamp": 3}], '
            '["execution_success", {"prompt_id": "r", "timestamp": 5}]]'
        )


async def test_a_run_is_always_in_queue_or_history(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        lease = runs.leasing.attach("r", (await leased(runs)).lease_id)
        ending = asyncio.create_task(runs.leasing.end(lease, Outcome(RunState.SUCCEEDED)))
        seen = set()
        while not ending.done():
            queued, finished = bool(runs.queue()[0]), "r" in runs.history
            assert queued != finished
            seen.add(queued)
            await asyncio.sleep(0)
        assert "r" in runs.history and not runs.queue()[0] and True in seen


async def test_a_submission_that_cannot_be_stored_leaves_nothing(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        journal = runs._board.journal
        (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
        await journal.post(lambda connection: connection.execute(f"PRAGMA max_page_count={pages + 2}").fetchone())
        waiting = asyncio.create_task(runs.leasing.lease("w", 5))
        await asyncio.sleep(0)
        with pytest.raises(Busy) as caught:
            await runs.submit(record("big", prompt_json=b"x" * 500_000))
        assert caught.value.reason == "DISK_FULL"
        assert runs.queue() == ([], []) and (await waiting).run is None
        await runs.submit(record("small"))
        assert (await leased(runs)).run_id == "small"
