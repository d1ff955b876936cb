"""The worker's side of WorkerService: leases come and reports go over one stream, through the front's restarts."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable

import grpc
from heliograph.graph.v1 import worker_service_pb2 as pb
from heliograph.graph.v1 import worker_service_pb2_grpc as rpc

from kit.status import from_rpc_error
from orchestrator.clients.run_report import RunReport
from orchestrator.runs.line import Hello, LeaseReport, Orders, Said
from orchestrator.runs.pace import Pace
from orchestrator.runs.records import FreeRequest, LeaseOffer, RunRecord
from orchestrator.transport.codec_lines import decode_orders, encode_said

_LOG = logging.getLogger("heliograph.worker")
_AHEAD = 7
_BURST = 32  # events in one message, at most: previews are pictures, and a message has a limit
_RETRY_S = 0.1


class FrontLink:
    """Connection to the front; survives its restarts. `next` opens it.

    Runs come ahead of time and belong to this worker only once it begins them: when the connection breaks, those not
    begun are forgotten here and wait at the front.
    """

    def __init__(
        self, channel: grpc.aio.Channel, worker_id: str, *, heartbeat_s: float, max_unsent: int = 2000
    ) -> None:
        self._stub = rpc.WorkerServiceStub(channel)
        self._worker_id = worker_id
        self._heartbeat_s = heartbeat_s
        self._max_unsent = max_unsent
        self._leases: deque[RunRecord] = deque()
        self._taken = ""  # the lease that `next` gave out, until it is begun
        self._stopped: set[str] = set()  # leases of `_leases`, and the taken one, that are to be stopped
        self._free = FreeRequest()
        self._reports: dict[str, RunReport] = {}  # by lease, in the order in which they were begun
        self._on_cancel: dict[str, Callable[[], None]] = {}
        self._on_lost: dict[str, Callable[[], None]] = {}
        self._returned: list[str] = []
        self._leaving = self._leave_said = False
        self._arrived = asyncio.Event()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def next(self) -> LeaseOffer:
        """Waits for a run, or for something to free."""
        if self._task is None:
            self._task = asyncio.create_task(self._talk())
        while not self._leases and not self._free:
            self._arrived.clear()
            await self._arrived.wait()
        if self._free:
            free, self._free = self._free, FreeRequest()
            return LeaseOffer(None, free)
        run = self._leases.popleft()
        self._taken = run.lease_id
        return LeaseOffer(run, FreeRequest())

    def report(self, run: RunRecord, on_cancel: Callable[[], None], on_lost: Callable[[], None]) -> RunReport:
        """Begins a leased run. `on_cancel`: the front wants it stopped; `on_lost`: nobody wants its result."""
        report = self._reports[run.lease_id] = RunReport(run, self._more.set, self._max_unsent)
        self._on_cancel[run.lease_id], self._on_lost[run.lease_id] = on_cancel, on_lost
        self._taken = ""
        if run.lease_id in self._stopped:
            self._stopped.discard(run.lease_id)
            on_cancel()
        self._more.set()
        return report

    def drop(self, report: RunReport) -> None:
        """Stops reporting a run."""
        self._forget(report.held.lease_id)
        report.settle(False)

    def leave(self) -> None:
        """Takes nothing more; runs that were not begun go back."""
        self._leaving = True
        self._returned += [run.lease_id for run in self._leases]
        self._leases.clear()
        self._more.set()

    async def close(self, timeout_s: float) -> None:
        """Ends the stream, once all is said if that takes no longer than `timeout_s`."""
        self.leave()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_s)
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _talk(self) -> None:
        """One stream after the other, until everything is said and no more is wanted."""
        away = False
        while not (self._leaving and away and not self._reports):
            try:
                await self._one_stream()
                if self._leaving and not self._reports:
                    return
            except grpc.RpcError as problem:
                error = from_rpc_error(problem)
                (_LOG.debug if away else _LOG.info)("the front is away, asking again: %s", error)
            away = True
            self._leases.clear()
            self._stopped.clear()
            self._returned.clear()
            self._leave_said = False
            for report in self._reports.values():
                report.rewind()
            await asyncio.sleep(_RETRY_S)

    async def _one_stream(self) -> None:
        call = self._stub.Work(self._outgoing(), wait_for_ready=True)
        try:
            async for response in call:
                self._hear(decode_orders(response))
        finally:
            call.cancel()

    async def _outgoing(self) -> AsyncIterator[pb.WorkRequest]:
        hello = Hello(self._worker_id, _AHEAD, tuple(report.held for report in self._reports.values()))
        yield encode_said(Said(hello))
        pace = Pace()
        while not (self._leaving and self._leave_said and not self._reports):
            if not await self._something():
                yield pb.WorkRequest()  # it lives
                continue
            await asyncio.sleep(pace.pause_s())
            yield encode_said(self._next_said())

    async def _something(self) -> bool:
        """Waits until there is something to say; False: there is not."""
        try:
            async with asyncio.timeout(self._heartbeat_s):
                await self._more.wait()
        except TimeoutError:
            return False
        return True

    def _next_said(self) -> Said:
        """News in the order of the runs: of the next one only that it has begun, until the first one's are complete."""
        self._more.clear()
        reports: list[LeaseReport] = []
        room, complete = _BURST, True
        for report in self._reports.values():
            part = report.next(room) if complete and room else report.begun()
            if part is not None:
                reports.append(part)
                room -= len(part.happened)
            complete = complete and report.said
        if not room:
            self._more.set()
        returned, self._returned = tuple(self._returned), []
        self._leave_said = self._leaving
        return Said(None, tuple(reports), returned, self._leaving)

    def _hear(self, orders: Orders) -> None:
        if self._leaving:
            self._returned += [run.lease_id for run in orders.leases]
        else:
            self._leases.extend(orders.leases)
        self._free |= orders.free
        for lease_id in orders.cancelled:
            if (stop := self._on_cancel.get(lease_id)) is not None:
                stop()
            elif lease_id == self._taken or any(run.lease_id == lease_id for run in self._leases):
                self._stopped.add(lease_id)
        for lease_id in (*orders.recalled, *orders.lost):
            if (run := next((run for run in self._leases if run.lease_id == lease_id), None)) is not None:
                self._leases.remove(run)
                self._returned.append(lease_id)
        for lease_id in orders.stored:
            self._end(lease_id, stored=True)
        for lease_id in orders.lost:
            lost = self._on_lost.get(lease_id)
            self._end(lease_id, stored=False)
            if lost is not None:
                _LOG.warning("the lease of a run has ended or passed on: lease=%s", lease_id)
                lost()
        self._arrived.set()
        if self._returned:
            self._more.set()

    def _end(self, lease_id: str, *, stored: bool) -> None:
        report = self._reports.get(lease_id)
        self._forget(lease_id)
        if report is not None:
            report.settle(stored)
        self._more.set()  # it may have been the last that a leaving worker waits for

    def _forget(self, lease_id: str) -> None:
        self._reports.pop(lease_id, None)
        self._on_cancel.pop(lease_id, None)
        self._on_lost.pop(lease_id, None)
