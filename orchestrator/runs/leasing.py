"""Leases: handing runs to workers, believing only the present holder, and what happens when one is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kit import telemetry
from orchestrator.runs import messages
from orchestrator.runs.board import Active, Board
from orchestrator.runs.lease import Lease
from orchestrator.runs.lines import Lines
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState

MAX_LOSSES = 2
"""A run that took so many workers with it is not tried again."""


class Leasing:
    """One per front, all calls on its event loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self.lines = Lines(board, self._lose, self.match)
        self._watchdog = self._loop.create_task(self._watch_deadlines())

    async def close(self) -> None:
        """No leases from now on, and none is taken back: what runs now is claimed at the next start."""
        self._closing = True
        self._watchdog.cancel()
        await asyncio.wait({self._watchdog})

    def restore(self, run: RunRecord) -> None:
        """A run that was leased when the last front ended: its worker has `reattach_s` to claim it."""
        durable: asyncio.Future[None] = self._loop.create_future()
        durable.set_result(None)
        active = self._board.add(run, durable)
        if run.state is RunState.PENDING:
            self._board.waiting.add(run)
            return
        deadline = self._loop.time() + self._board.limits.reattach_s
        active.lease = Lease(run.lease_id, run.run_id, deadline, began=True)

    def ask_to_free(self, request: FreeRequest) -> None:
        """Workers let go of memory before their next run."""
        if request.free_memory:
            self._board.measured.forget_recent()
        self.lines.ask_to_free(request)

    def worker_count(self) -> int:
        """Workers that live, as far as known."""
        return len(self.lines)

    def match(self) -> None:
        """Brings waiting runs and workers together."""
        while self._board.waiting.ready and not self._closing:
            if not self.lines.lend():
                return
        if not self._closing and self.lines.has_idle():
            self.lines.share()

    def _lose(self, active: Active, *, counts: bool) -> None:
        """Ends a lease without an outcome: back to the run's place, or, lost for the second time, failed."""
        if active.lease is None or active.ending:
            return
        lease, active.lease = active.lease, None
        self._board.changes += 1
        lease.void = True
        lease.decide()
        if active.run.state is RunState.PENDING:  # lent and not begun
            active.run = replace(active.run, lease_id="")
            if not lease.unwanted:
                self._board.waiting.give_back(active.run.run_id)
                self.match()
            return
        attempts = active.run.attempts if lease.began else active.run.attempts - 1
        self._board.waiting.remove(active.run.run_id)  # begun, and not known to have
        run = active.run = replace(active.run, attempts=attempts, losses=active.run.losses + counts)
        if counts:
            telemetry.record("heliograph.runs.lost_leases", 1)
        if run.cancelled:
            self._board.end(active, Outcome(RunState.INTERRUPTED), messages.interrupted())
        elif run.losses >= MAX_LOSSES:
            self._board.end(active, Outcome(RunState.FAILED), messages.worker_lost(run.losses))
        else:
            active.clear()
            active.run = replace(run, state=RunState.PENDING, lease_id="", started_ms=0)
            self._board.store(active)
            self._board.waiting.add(active.run)
            self.match()

    async def _watch_deadlines(self) -> None:
        period = min(self._board.limits.heartbeat_s, self._board.limits.reattach_s) / 4
        while True:
            await asyncio.sleep(period)
            now = self._loop.time()
            self.lines.close_silent()
            for active in list(self._board.active.values()):
                if active.lease is not None and active.lease.deadline < now:
                    self._lose(active, counts=active.lease.began)
