"""The workers' streams: who gets which run ahead of time, and what becomes of it.

A run that is lent ahead stays pending for everybody until its worker begins it. It comes back when the worker dies,
when another worker has nothing to do, when somebody removes it, and when a run is submitted that goes before it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from kit import telemetry
from orchestrator.runs import store
from orchestrator.runs.board import Active, Board
from orchestrator.runs.events import Resumed
from orchestrator.runs.lease import Lease, new_lease_id
from orchestrator.runs.line import MAX_AHEAD, Hello, LeaseReport, Line, Said
from orchestrator.runs.records import FreeRequest, RunRecord, RunState
from orchestrator.runs.reports import Attach, Happened

_NOTE_S = 0.05
"""A run that ends within this time needs no entry saying that it began."""


class Lose(Protocol):
    """Ends a lease without an outcome."""

    def __call__(self, active: Active, *, counts: bool) -> None: ...


class Lines:
    """One per front, all calls on its event loop; a part of `Leasing`."""

    def __init__(self, board: Board, lose: Lose, match: Callable[[], None]) -> None:
        self._board = board
        self._lose = lose
        self._match = match
        self._loop = asyncio.get_running_loop()
        self._open: list[Line] = []  # who became idle last stands last: its cache is the warmest

    def __len__(self) -> int:
        return len(self._open)

    def open(self, hello: Hello) -> Line:
        """A worker's stream begins; what it cannot hold any more is told as lost."""
        now = self._loop.time()
        line = Line(max(0, min(hello.ahead, MAX_AHEAD)), now + self._board.limits.heartbeat_s)
        for held in hello.held:
            self._claim(line, held)
        self._open.append(line)
        self._match()
        return line

    def close(self, line: Line, *, keep: bool) -> None:
        """The stream ended. Its leases pass on at once, unless the front itself is stopping (`keep`)."""
        if line.closed:
            return
        line.closed = True
        line.settled.set()
        line.changed.set()
        self._open.remove(line)
        leases = list(line.leases.values())
        line.leases.clear()
        if keep:
            return
        # The worker died of the run that it worked on: not of those that it had computed, nor of those it had ahead.
        suspect = next((lease for lease in leases if not lease.computed), None)
        for lease in leases:
            if (active := self._holder(lease)) is not None:
                self._lose(active, counts=lease is suspect and lease.began)

    def close_silent(self) -> None:
        """Ends the streams of workers that have said nothing for too long."""
        now = self._loop.time()
        for line in [line for line in self._open if line.deadline < now]:
            self.close(line, keep=False)

    def ask_to_free(self, request: FreeRequest) -> None:
        """Workers let go of memory before their next run."""
        for line in self._open:
            line.orders.free |= request
            line.changed.set()

    def has_idle(self) -> bool:
        """Whether a worker has nothing to do."""
        return any(not line.leases and not line.leaving for line in self._open)

    def hear(self, line: Line, said: Said) -> None:
        """Takes in one message."""
        if line.closed:
            return
        line.deadline = self._loop.time() + self._board.limits.heartbeat_s
        line.leaving |= said.leaving
        for report in said.reports:
            self._take(line, report)
        for lease_id in said.returned:
            lease = line.leases.pop(lease_id, None)
            if lease is not None and (active := self._holder(lease)) is not None:
                lease.began = False
                self._lose(active, counts=False)
        if said.reports or said.returned:
            self._head(line)
            self._match()

    # ------------------------------------------------------------ giving

    def lend(self) -> bool:
        """Gives the next waiting run to a worker that has nothing to do, else ahead to one; False: nobody has room."""
        line = next((line for line in reversed(self._open) if not line.leases and line.has_room), None)
        if line is None:
            line = min((line for line in self._open if line.has_room), key=lambda line: len(line.leases), default=None)
        if line is None or (run := self._board.waiting.lend()) is None:
            return False
        active = self._board.active[run.run_id]
        lease = Lease(new_lease_id(), run.run_id, line=line)
        active.lease = lease
        active.run = replace(active.run, lease_id=lease.lease_id)
        line.leases[lease.lease_id] = lease
        if len(line.leases) == 1:
            self._board.waiting.remove(run.run_id)
            self._start(active)
        stored = self._board.journal.post(store.update_progress(active.run))
        stored.add_done_callback(partial(self._deliver, line, active, lease))
        return True

    def make_way(self, run: RunRecord) -> None:
        """Calls back what is lent and comes after this new run."""
        place = run.number, run.order
        for line in self._open:
            for lease in line.lent:
                other = self._board.active[lease.run_id].run
                if (other.number, other.order) > place:
                    line.recall(lease)

    def share(self) -> None:
        """For a worker that has nothing to do while nothing waits: what the busiest other one has ahead."""
        line = max(self._open, key=lambda line: len(line.lent), default=None)
        for lease in line.lent if line is not None else ():
            if lease.delivered and line is not None:
                line.recall(lease)

    async def take_back(self, lent: Sequence[Active]) -> None:
        """Calls these runs back so that nobody gets them; those that have begun keep their lease."""
        leases = [active.lease for active in lent if active.lease is not None and active.lease.line is not None]
        for lease in leases:
            lease.unwanted = True
            assert lease.line is not None
            lease.line.recall(lease)
        waits = [lease.decided for lease in leases]
        if waits:
            await asyncio.wait(waits, timeout=self._board.limits.recall_s)
        for lease in leases:  # of a worker that does not answer
            active = self._holder(lease)
            if active is not None and not lease.began and lease.line is not None:
                lease.line.leases.pop(lease.lease_id, None)
                lease.line.tell(lost=lease.lease_id)
                self._lose(active, counts=False)

    def _deliver(self, line: Line, active: Active, lease: Lease, stored: asyncio.Future[None]) -> None:
        """The lease is durable: the worker may have it."""
        if self._holder(lease) is None:
            line.leases.pop(lease.lease_id, None)
        elif stored.exception() is not None or lease.recalled:
            line.leases.pop(lease.lease_id, None)
            lease.began = False
            self._lose(active, counts=False)
        else:
            lease.delivered = True
            line.orders.leases.append(active.run)
            line.changed.set()
            if active.run.cancelled:
                line.tell(cancelled=lease.lease_id)
        self._head(line)
        self._match()

    # ------------------------------------------------------------ working

    def _claim(self, line: Line, held: Attach) -> None:
        active = self._board.active.get(held.run_id)
        if (
            active is None or active.ending or active.run.lease_id != held.lease_id
            or (active.lease is not None and active.lease.line is not None)
        ):  # fmt: skip
            line.tell(lost=held.lease_id)
            return
        # Without a lease it is pending: it was lent, and begun while the front was away or about to fall.
        lease = active.lease or Lease(held.lease_id, held.run_id)
        lease.delivered = lease.began = True
        lease.line, lease.deadline = line, math.inf
        active.lease = line.leases[lease.lease_id] = lease
        self._begin(active, lease)
        lease.announced = held.run_id not in self._board.waiting
        self._announce(active, lease)
        if active.run.cancelled:
            line.tell(cancelled=lease.lease_id)

    def _take(self, line: Line, report: LeaseReport) -> None:
        lease = line.leases.get(report.lease_id)
        active = None if lease is None else self._holder(lease)
        if lease is None or active is None:
            line.leases.pop(report.lease_id, None)
            line.tell(lost=report.lease_id)
            return
        for earlier in line.leases.values():
            if earlier is lease:
                break
            earlier.computed = True
        self._begin(active, lease)
        self._head(line)
        for each in report.happened:
            active.history.add(active.run.run_id, each.body, each.timestamp_ms)
            active.timing.see(each.body, each.timestamp_ms)
            line.voice.say(partial(self._tell, active, lease, each))
        if report.outcome is None:
            return
        del line.leases[report.lease_id]
        if not line.leases:
            self._open.remove(line)
            self._open.append(line)
        if report.outcome.state is RunState.PENDING:
            self._lose(active, counts=False)
            line.tell(stored=report.lease_id)
            return
        line.ending += 1
        line.settled.clear()
        told = self._board.end(active, report.outcome, voice=line.voice)
        told.add_done_callback(partial(self._stored, line, report.lease_id))

    def _stored(self, line: Line, lease_id: str, _: object) -> None:
        line.ending -= 1
        if not line.ending:
            line.settled.set()
        line.tell(stored=lease_id)
        if not line.closed:
            self._match()

    def _head(self, line: Line) -> None:
        """The first lease is the one that the worker works on, and everybody may know once what came before is told."""
        lease = next(iter(line.leases.values()), None)
        if lease is None or not lease.delivered or (active := self._holder(lease)) is None:
            return
        self._begin(active, lease)
        if not lease.announced:
            line.voice.say(partial(self._announce, active, lease))

    def _begin(self, active: Active, lease: Lease) -> None:
        lease.began, lease.unwanted = True, False
        lease.decide()
        if active.run.state is RunState.PENDING:
            self._start(active)
            self._loop.call_later(_NOTE_S, self._note, active, lease)

    def _start(self, active: Active) -> None:
        self._board.changes += 1
        active.run = replace(
            active.run, state=RunState.RUNNING, attempts=active.run.attempts + 1, started_ms=self._board.now_ms()
        )

    def _note(self, active: Active, lease: Lease) -> None:
        if self._holder(lease) is not None:
            self._board.store(active)

    def _announce(self, active: Active, lease: Lease) -> None:
        if lease.announced or lease.void:
            return
        lease.announced = True
        run = active.run
        self._board.waiting.remove(run.run_id)
        telemetry.record("heliograph.queue.wait", (run.started_ms - run.created_ms) / 1000)
        self._board.queue_changed()
        if run.attempts > 1:
            self._board.tell(active, Resumed(run.attempts))

    def _tell(self, active: Active, lease: Lease, each: Happened) -> None:
        if not lease.void:
            self._board.tell(active, each.body, each.timestamp_ms)

    def _holder(self, lease: Lease) -> Active | None:
        """The run, as long as the lease is worth something."""
        active = self._board.active.get(lease.run_id)
        return active if active is not None and active.lease is lease and not lease.void and not active.ending else None
