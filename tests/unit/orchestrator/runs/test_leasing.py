"""Who holds which run: fencing, losses, deadlines, restarts; without sockets."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kit.errors import Busy
from orchestrator.engine.events import Cached, Failed, Started, Succeeded
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState
from orchestrator.runs.reports import Attach
from orchestrator.runs.runs import Runs
from tests.support.runs import Hand, open_runs, record

DONE = Outcome(RunState.SUCCEEDED)
BACK = Outcome(RunState.PENDING)


async def settled(runs: Runs, run_id: str) -> RunRecord:
    while (run := await runs.get(run_id)).ended_ms == 0:
        await asyncio.sleep(0.001)
    return run


async def test_only_the_present_holder_is_believed(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        old = Hand(runs)
        first = await old.lease()
        old.hang_up()
        new = Hand(runs, "other")
        second = await new.lease()
        assert second.attempts == 2 and second.lease_id != first.lease_id
        old.say(first.lease_id, Started(), outcome=DONE)
        late = Hand(runs, "late", held=(Attach("r", first.lease_id), Attach("r", second.lease_id), Attach("x", "l")))
        late.listen()
        assert late.lost == [first.lease_id, second.lease_id, "l"]
        late.say(second.lease_id, outcome=DONE)
        assert [run.run_id for run in runs.queue()[0]] == ["r"]
        await new.end(second.lease_id, DONE)
        assert (await runs.get("r")).attempts == 2
        assert len(await runs.history.page(None, None)) == 1


async def test_two_losses_fail_the_run_and_a_return_is_no_loss(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        for given_back in (True, True, False, True, False):
            hand = Hand(runs)
            run = await hand.lease()
            if given_back:
                await hand.end(run.lease_id, BACK)
            hand.hang_up()
        run = await settled(runs, "r")
        assert (run.state, run.losses) == (RunState.FAILED, 2)


async def test_a_silent_holder_loses_the_lease(tmp_path: Path) -> None:
    async with open_runs(tmp_path, heartbeat_s=0.05) as runs:
        await runs.submit(record("r"))
        silent = Hand(runs)
        await silent.lease()
        await asyncio.wait_for(silent.line.settled.wait(), 20)
        assert silent.line.closed and (await Hand(runs, "other").lease()).attempts == 2


async def test_a_run_that_kills_workers_before_they_report_is_not_tried_for_ever(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        for attempt in (1, 2):
            hand = Hand(runs)
            again = await hand.lease()
            assert (again.attempts, again.losses) == (attempt, attempt - 1)
            hand.hang_up()
        assert (await settled(runs, "r")).state is RunState.FAILED


async def test_a_worker_that_hangs_up_gets_nothing(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        Hand(runs, "gone").hang_up()
        here = Hand(runs, "here")
        await runs.submit(record("r"))
        assert (await here.lease()).attempts == 1
        assert runs.leasing.worker_count() == 1


async def test_a_worker_that_hangs_up_at_the_last_moment_loses_no_run(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        gone = Hand(runs, "gone")
        submitting = asyncio.create_task(runs.submit(record("r")))
        await asyncio.sleep(0)  # the run is promised, the promise not yet durable
        gone.hang_up()
        await submitting
        run = await Hand(runs, "here").lease()
        assert (run.run_id, run.losses) == ("r", 0)


async def test_each_run_goes_to_one_worker(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        hands = [Hand(runs, f"w{n}") for n in range(20)]
        await asyncio.gather(*(runs.submit(record(f"r{n}")) for n in range(20)))
        got = await asyncio.gather(*(hand.lease() for hand in hands))
        assert sorted(run.run_id for run in got) == sorted(f"r{n}" for n in range(20))


async def test_all_workers_are_told_to_free_once(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        hands = [Hand(runs, "one"), Hand(runs, "other")]
        runs.leasing.ask_to_free(FreeRequest(unload_models=True))
        runs.leasing.ask_to_free(FreeRequest(free_memory=True))
        for hand in hands:
            hand.listen()
            assert hand.free == FreeRequest(True, True)
            assert not hand.line.next_orders()


async def test_a_run_that_was_running_is_claimed_after_a_restart_or_starts_anew(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        held = {}
        for run_id in ("claimed", "orphan", "stopped"):
            await runs.submit(record(run_id))
            held[run_id] = (await Hand(runs, run_id).lease()).lease_id
        await runs.cancel(["stopped"], include_pending=False)
    async with open_runs(tmp_path, reattach_s=0.1) as runs:
        assert len(runs.queue()[0]) == 3
        claiming = Hand(runs, held=(Attach("claimed", held["claimed"]),))
        again = await Hand(runs, "other").lease()
        assert (again.run_id, again.attempts, again.losses) == ("orphan", 2, 1)
        assert (await settled(runs, "stopped")).state is RunState.INTERRUPTED
        await claiming.end(held["claimed"], DONE)
        assert (await runs.get("claimed")).attempts == 1


async def test_stored_messages_are_those_of_the_last_attempt(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        for attempt in (1, 2):
            hand = Hand(runs)
            lease_id = (await hand.lease()).lease_id
            hand.say(lease_id, Started(), at=attempt)
            if attempt == 1:
                hand.hang_up()
        hand.say(lease_id, Cached(("7",)), at=3)
        hand.say(lease_id, Failed("1", "X", (), "a branch was blocked", "ExecutionBlocked"), at=4)
        hand.say(lease_id, Succeeded(), at=5)
        await hand.end(lease_id, DONE)
        assert (await runs.get("r")).messages_json.decode() == (
            '[["execution_start", {"prompt_id": "r", "timestamp": 2}], '
            '["execution_cached", {"nodes": ["7"], "prompt_id": "r", "timestamp": 3}], '
            '["execution_success", {"prompt_id": "r", "timestamp": 5}]]'
        )


async def test_a_run_is_always_in_queue_or_history(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as runs:
        await runs.submit(record("r"))
        hand = Hand(runs)
        ending = asyncio.create_task(hand.end((await hand.lease()).lease_id, DONE))
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
        hand = Hand(runs)
        with pytest.raises(Busy) as caught:
            await runs.submit(record("big", prompt_json=b"x" * 500_000))
        assert caught.value.reason == "DISK_FULL"
        assert runs.queue() == ([], []) and not hand.line.next_orders().leases
        await runs.submit(record("small"))
        assert (await hand.lease()).run_id == "small"
