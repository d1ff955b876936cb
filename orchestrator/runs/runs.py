"""The run queue as its callers see it: submit, look, stop, watch; workers use `leasing`.

The store is written before anybody is told; memory mirrors it. A run whose worker vanishes goes back to its place and
starts once more; when a second worker vanishes with it, it fails.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace

from kit import telemetry
from kit.errors import Conflict, NotFound
from orchestrator.runs import messages, store
from orchestrator.runs.board import Active, Board, Limits
from orchestrator.runs.events import Ended, RunEvent
from orchestrator.runs.journal import Journal
from orchestrator.runs.leasing import Leasing
from orchestrator.runs.measured import Measured
from orchestrator.runs.records import Receipt, RunRecord, RunState


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Runs:
    """One per front, all calls on its event loop. Build it with `open`."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._ordinal = 0
        self.counter = 0
        self.leasing = Leasing(board)
        self.history = board.history

    @property
    def measured(self) -> Measured:
        """How long nodes took here."""
        return self._board.measured

    @classmethod
    async def open(cls, journal: Journal, epoch: str, limits: Limits, now_ms: Callable[[], int] = _clock_ms) -> Runs:
        """Reads what the last front left: pending runs wait on, running ones have `reattach_s` to be claimed."""
        board = Board(journal, epoch, limits, now_ms)
        await journal.read(board.history.load)
        board.measured = Measured(await journal.read(store.paces))
        runs = cls(board)
        runs.counter = await journal.read(store.counter)
        runs._ordinal = await journal.read(store.last_ordinal)
        for run in await journal.read(store.unfinished):
            runs.leasing.restore(run)
        return runs

    def stop_watching(self) -> None:
        """Ends every watch with Unready (STOPPING)."""
        self._board.stop_watching()

    async def close(self) -> None:
        """Stores what is ending; what runs now is claimed at the next start."""
        await self.leasing.close()
        await self._board.settle(timeout_s=5)
        await self._board.journal.close()

    def check_room(self, size: int) -> None:
        """Raises Busy (QUEUE_FULL)."""
        self._board.waiting.check_room(size)

    async def repeated(self, run_id: str, body_hash: bytes) -> Receipt | None:
        """The first receipt if this submission is a repetition. Raises Conflict (PROMPT_ID_TAKEN)."""
        active, finished = self._board.active.get(run_id), self.history.find(run_id)
        if active is None and finished is None:
            return None
        known = active.run.body_hash if active is not None else finished.body_hash if finished else b""
        if known != body_hash:
            raise Conflict("another prompt has this id", reason="PROMPT_ID_TAKEN", prompt_id=run_id)
        if active is not None:
            await asyncio.shield(active.durable)
            return active.run.receipt
        return finished.receipt if finished else None

    async def submit(self, run: RunRecord) -> Receipt:
        """Accepts a run; it is durable when this returns. Raises Busy (QUEUE_FULL, DISK_FULL), Conflict."""
        if run.run_id in self._board.active or run.run_id in self.history:
            raise Conflict("another prompt has this id", reason="PROMPT_ID_TAKEN", prompt_id=run.run_id)
        self._board.waiting.check_room(run.bytes)
        self._ordinal += 1
        run = replace(run, order=self._ordinal)
        stored = self._board.journal.post(store.insert(run, self.counter))
        active = self._board.add(run, stored)
        self._board.waiting.add(run)
        self.leasing.lines.make_way(run)
        stored.add_done_callback(lambda _: self._accepted(active))
        self.leasing.match()  # an idle worker's lease joins the same commit
        await asyncio.shield(stored)
        return run.receipt

    def _accepted(self, active: Active) -> None:
        if active.durable.cancelled() or active.durable.exception() is not None:
            self._board.forget(active)
            return
        telemetry.record("heliograph.runs.submitted", 1)
        self._board.queue_changed()

    def counts(self) -> tuple[int, int]:
        """How many runs run and wait."""
        pending = len(self._board.waiting)
        return len(self._board.active) - pending, pending

    @property
    def queue_version(self) -> str:
        """Another one whenever `queue` would give something else."""
        return f"{self._board.feed.epoch}:{self._board.changes}"

    def queue(self) -> tuple[list[RunRecord], list[RunRecord]]:
        """Running runs by their start, pending ones next first."""
        waiting = self._board.waiting
        running = [active.run for run_id, active in self._board.active.items() if run_id not in waiting]
        return sorted(running, key=lambda run: (run.started_ms, run.order)), waiting.ordered()

    async def get(self, run_id: str) -> RunRecord:
        """One run wherever it stands. Raises NotFound (PROMPT_NOT_FOUND)."""
        active = self._board.active.get(run_id)
        run = active.run if active is not None else await self.history.get(run_id)
        if run is None:
            raise _unknown(run_id)
        return run

    async def cancel(self, run_ids: Iterable[str], *, include_pending: bool) -> list[str]:
        """Tells running runs to stop (no ids: all of them), removes named pending ones; returns those concerned."""
        named, active = list(dict.fromkeys(run_ids)), self._board.active
        chosen = [active[run_id] for run_id in named or active if run_id in active]
        # A run that its worker has begun and nobody was told of yet is meant only if it is named.
        running = [each for each in chosen if _runs(each) and (named or each.run.run_id not in self._board.waiting)]
        await self._stop(running)
        pending = [each for each in chosen if named and include_pending and each.run.state is RunState.PENDING]
        removed = await self._remove([each.run.run_id for each in pending])
        begun = [each for each in pending if _runs(each)]  # while it was asked back
        await self._stop(begun)
        return [each.run.run_id for each in (*running, *begun)] + removed

    async def _stop(self, running: Sequence[Active]) -> None:
        for active in running:
            active.run = replace(active.run, cancelled=True)
            if active.lease is not None:
                active.lease.stop()
        if running:
            await asyncio.gather(*(self._board.store(active) for active in running))

    async def delete_pending(self, run_ids: Iterable[str] | None) -> int:
        """Removes pending runs (None: all); they leave no history."""
        ids = [run.run_id for run in self._board.waiting.ordered()] if run_ids is None else list(dict.fromkeys(run_ids))
        return len(await self._remove(ids))

    async def _remove(self, run_ids: Iterable[str]) -> list[str]:
        ids, waiting = list(run_ids), self._board.waiting
        lent = [active for run_id in ids if (active := self._board.active.get(run_id)) and run_id in waiting]
        await self.leasing.lines.take_back([active for active in lent if active.lease is not None])
        free = [run_id for run_id in ids if (active := self._board.active.get(run_id)) and active.lease is None]
        gone = [self._board.active.pop(run_id) for run_id in free if waiting.remove(run_id) is not None]
        ids = [active.run.run_id for active in gone]
        if not gone:
            return []
        self._board.changes += 1
        await self._board.journal.post(store.delete(ids))
        self._board.queue_changed()
        for active in gone:  # only those who watch this very run are told
            self._board.feed.tell_own(active.run, active.log, Ended(RunState.INTERRUPTED))
        return ids

    def watch_all(self, after: int, epoch: str) -> AsyncIterator[list[RunEvent]]:
        """See Hub.watch."""
        return self._board.feed.watch(after, epoch)

    async def watch(self, run_id: str) -> AsyncIterator[RunEvent]:
        """Events of one run from its beginning to Ended. Raises NotFound (PROMPT_NOT_FOUND)."""
        active = self._board.active.get(run_id)
        if active is not None:
            async for event in active.log.follow():
                yield event
            return
        run = await self.get(run_id)
        for event in messages.replay(run, self._board.feed.epoch):
            yield event


def _runs(active: Active) -> bool:
    return active.lease is not None and active.run.state is RunState.RUNNING and not active.ending


def _unknown(run_id: str) -> NotFound:
    return NotFound("no such run", reason="PROMPT_NOT_FOUND", run_id=run_id)
