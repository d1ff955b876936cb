"""Leases: handing runs to workers, believing only the present holder, and what happens when one is lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kit import telemetry
from kit.errors import Conflict
from orchestrator.runs import messages, store
from orchestrator.runs.board import Active, Board
from orchestrator.runs.events import Body, Resumed
from orchestrator.runs.lease import Lease, Workers, new_lease_id
from orchestrator.runs.lines import Lines
from orchestrator.runs.records import FreeRequest, LeaseOffer, Outcome, RunRecord, RunState

MAX_LOSSES = 2
"""A run that took so many workers with it is not tried again."""


class Leasing:
    """One per front, all calls on its event loop."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._loop = asyncio.get_running_loop()
        self._workers = Workers()
        self._closing = False
        self.lines = Lines(board, self._workers, self._lose, self.match)
        self._watchdog = self._loop.create_task(self._watch_deadlines())

    async def close(self) -> None:
        """No leases from now on, and none is taken back: what runs now is claimed at the next start."""
        self._closing = True
        self._watchdog.cancel()
        self._workers.ask_to_free(FreeRequest())  # wakes who waits
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
        active.lease = Lease(run.lease_id, run.run_id, "", deadline, began=True)
        if run.cancelled:
            active.lease.cancel.set()

    def ask_to_free(self, request: FreeRequest) -> None:
        """Workers let go of memory before their next run."""
        if request.free_memory:
            self._board.measured.forget_recent()
        self._workers.ask_to_free(request)
        self.lines.ask_to_free(request)

    def worker_count(self) -> int:
        """Workers that live, as far as known."""
        return self._workers.count(self._loop.time())

    async def lease(self, worker_id: str, wait_s: float) -> LeaseOffer:
        """The next run, as soon as there is one; without a run: `wait_s` passed or there is something to free."""
        self._workers.seen(worker_id, self._loop.time())
        free = self._workers.take_free(worker_id)
        if free or self._closing:
            return LeaseOffer(None, free)
        future = self._workers.wait(worker_id)
        self.match()
        try:
            async with asyncio.timeout(wait_s):
                run = await asyncio.shield(future)
        except TimeoutError:
            run = future.result() if future.done() else None
        except asyncio.CancelledError:
            self._workers.gone(worker_id)
            if future.done() and not future.exception() and (run := future.result()) is not None:
                self._return_unbegun(run)
            raise
        finally:
            self._workers.leave(worker_id, future)
            future.cancel()
        self._workers.seen(worker_id, self._loop.time())
        return LeaseOffer(run, self._workers.take_free(worker_id))

    def match(self) -> None:
        """Brings waiting runs and waiting workers together."""
        while self._board.waiting.ready and not self._closing:
            worker = self._workers.pop_waiting()
            if worker is None:
                if not self.lines.lend():
                    return
            elif (run := self._board.waiting.take()) is not None:
                self._grant(self._board.active[run.run_id], *worker)
        if not self._closing and (self._workers.any_waiting or self.lines.has_idle()):
            self.lines.share()

    def _grant(self, active: Active, worker_id: str, worker: asyncio.Future[RunRecord | None]) -> None:
        """Leases a run to a waiting worker, who is told when that is durable."""
        run = replace(
            active.run, state=RunState.RUNNING, attempts=active.run.attempts + 1, lease_id=new_lease_id(),
            started_ms=self._board.now_ms(),
        )  # fmt: skip
        active.run = run
        self._board.changes += 1
        lease = Lease(run.lease_id, run.run_id, worker_id, self._loop.time() + self._board.limits.attach_s)
        active.lease = lease
        stored = self._board.journal.post(store.update_progress(run))

        def deliver(_: object) -> None:
            if lease.void or self._board.active.get(run.run_id) is not active:
                _resolve(worker, None)
            elif (problem := stored.exception()) is not None:
                self._lose(active, counts=False)
                if not worker.done():
                    worker.set_exception(problem)
            elif _resolve(worker, run):
                # It may run from here on, before its report arrives: a run that kills its worker at once must count.
                lease.began = True
                self._granted(active)
            else:  # the worker hung up meanwhile
                self._return_unbegun(run)

        stored.add_done_callback(deliver)

    def _granted(self, active: Active) -> None:
        run = active.run
        telemetry.record("heliograph.queue.wait", (run.started_ms - run.created_ms) / 1000)
        self._board.queue_changed()
        if run.attempts > 1:
            self._board.tell(active, Resumed(run.attempts))

    def _return_unbegun(self, run: RunRecord) -> None:
        """Takes back a lease that its worker never learned of."""
        active = self._board.active.get(run.run_id)
        if active is not None and active.lease is not None and active.lease.lease_id == run.lease_id:
            active.lease.began = False
            self._lose(active, counts=False)

    def attach(self, run_id: str, lease_id: str) -> Lease:
        """Begins the report of a leased run. Raises Conflict (LEASE_LOST): drop the run."""
        active = self._board.active.get(run_id)
        lease = active.lease if active is not None and not active.ending else None
        if active is None or lease is None or lease.lease_id != lease_id or lease.attached:
            raise _lost(run_id)
        lease.attached = lease.began = True
        self.heartbeat(lease)
        return lease

    def heartbeat(self, lease: Lease) -> None:
        """Keeps the lease alive for another `heartbeat_s`. Raises Conflict (LEASE_LOST)."""
        self._holder(lease)
        now = self._loop.time()
        lease.deadline = now + self._board.limits.heartbeat_s
        if lease.worker_id:
            self._workers.seen(lease.worker_id, now)

    def report(self, lease: Lease, body: Body, timestamp_ms: int) -> None:
        """Tells everybody what happened. Raises Conflict (LEASE_LOST)."""
        active = self._holder(lease)
        self.heartbeat(lease)
        active.history.add(active.run.run_id, body, timestamp_ms)
        active.timing.see(body, timestamp_ms)
        self._board.tell(active, body, timestamp_ms)

    async def end(self, lease: Lease, outcome: Outcome) -> None:
        """Stores how the run ended; then it is in history and everybody knows. Raises Conflict (LEASE_LOST)."""
        active = self._holder(lease)
        await asyncio.shield(self._board.end(active, outcome))

    def detach(self, lease: Lease, *, given_back: bool) -> None:
        """The report ended without an outcome: the worker gave the run back, or was lost with it."""
        active = self._board.active.get(lease.run_id)
        if not lease.void and not self._closing and active is not None and active.lease is lease and not active.ending:
            self._lose(active, counts=not given_back)
            if not given_back:
                self._workers.gone(lease.worker_id)

    def _holder(self, lease: Lease) -> Active:
        active = self._board.active.get(lease.run_id)
        if lease.void or active is None or active.lease is not lease or active.ending:
            raise _lost(lease.run_id)
        return active

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
        period = min(self._board.limits.heartbeat_s, self._board.limits.attach_s, self._board.limits.reattach_s) / 4
        while True:
            await asyncio.sleep(period)
            now = self._loop.time()
            self.lines.close_silent()
            for active in list(self._board.active.values()):
                if active.lease is not None and active.lease.deadline < now:
                    self._lose(active, counts=active.lease.began)


def _resolve(future: asyncio.Future[RunRecord | None], run: RunRecord | None) -> bool:
    if future.done():
        return False
    future.set_result(run)
    return True


def _lost(run_id: str) -> Conflict:
    return Conflict("the lease has ended or passed on; drop the run", reason="LEASE_LOST", run_id=run_id)
