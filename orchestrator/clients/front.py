"""The worker's side of WorkerService: asking for work, and reporting a run through the front's restarts."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import grpc
from heliograph.graph.v1 import worker_service_pb2 as pb
from heliograph.graph.v1 import worker_service_pb2_grpc as rpc

from kit.errors import Conflict, InvalidRequest
from kit.status import from_rpc_error
from orchestrator.runs.events import Body, is_preview, latest_key
from orchestrator.runs.records import LeaseOffer, Outcome, RunRecord
from orchestrator.runs.reporting import Attach, Directive, Happened, Heartbeat
from orchestrator.transport.codec_workers import decode_directive, decode_offer, encode_reports

_LOG = logging.getLogger("heliograph.worker")
_CALL_SLACK_S = 5.0
_FIRST_S = 0.02  # a run's first events come within milliseconds; with them the lease is claimed in the same message
_BURST = 32  # events in one message, at most: previews are pictures, and a message has a limit


class FrontLink:
    """Connection to the front; survives its restarts."""

    def __init__(
        self, channel: grpc.aio.Channel, worker_id: str, *, heartbeat_s: float, max_unsent: int = 2000
    ) -> None:
        self._stub = rpc.WorkerServiceStub(channel)
        self._worker_id = worker_id
        self._heartbeat_s = heartbeat_s
        self._max_unsent = max_unsent

    async def lease(self, wait_s: float) -> LeaseOffer:
        """Waits for work. Raises Unready, TooSlow, Busy: try again after a pause."""
        request = pb.LeaseRunRequest(worker_id=self._worker_id, wait_ms=round(wait_s * 1000))
        try:
            return decode_offer(await self._stub.LeaseRun(request, timeout=wait_s + _CALL_SLACK_S))
        except grpc.RpcError as problem:
            raise from_rpc_error(problem) from problem

    def report(self, run: RunRecord, on_cancel: Callable[[], None], on_lost: Callable[[], None]) -> RunReport:
        """Begins to report a leased run (inside the event loop)."""
        return RunReport(self._stub, run, on_cancel, on_lost, self._heartbeat_s, self._max_unsent)


class RunReport:
    """Events of one run on their way to the front, in order.

    What was sent is kept (without pictures, of repeated reports only the newest), because a front that restarts knows
    nothing of it. `on_cancel`: the front wants the run stopped; `on_lost`: the lease is gone, nobody wants the result.
    """

    def __init__(
        self,
        stub: rpc.WorkerServiceAsyncStub,
        run: RunRecord,
        on_cancel: Callable[[], None],
        on_lost: Callable[[], None],
        heartbeat_s: float,
        max_unsent: int,
    ) -> None:
        self._stub = stub
        self._run = run
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._heartbeat_s = heartbeat_s
        self._max_unsent = max_unsent
        self._sent: list[Happened] = []
        self._unsent: deque[Happened] = deque()
        self._outcome: Outcome | None = None
        self._muted = False
        self._more = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._talk())

    def tell(self, body: Body) -> None:
        """Queues an event (call it on the event loop); while the front is away only a bounded part is kept."""
        if self._muted:
            return
        self._unsent.append(Happened(body, time.time_ns() // 1_000_000))
        if len(self._unsent) > self._max_unsent:
            self._unsent = deque(_newest(self._unsent))
        self._more.set()

    def mute(self) -> None:
        """Ignores events from now on: the run is given back."""
        self._muted = True

    async def end(self, outcome: Outcome, patience_s: float) -> bool:
        """Sends the last word; True when the front has stored it (or taken the run back), False: the lease is lost.

        If the front stays away for `patience_s` seconds the result is dropped and the lease runs out.
        """
        self._outcome = outcome
        self._more.set()
        done, _ = await asyncio.wait({self._task}, timeout=patience_s)
        if not done:
            _LOG.error("the front did not come back for the outcome of run %s", self._run.run_id)
            await self.drop()
            return False
        return not self._task.cancelled() and self._task.result()

    async def drop(self) -> None:
        """Stops reporting."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _talk(self) -> bool:
        """One stream after the other until the outcome is stored or the lease is lost."""
        while True:
            try:
                if await self._one_stream():
                    return True
            except grpc.RpcError as problem:
                error = from_rpc_error(problem)
                if isinstance(error, Conflict | InvalidRequest):
                    _LOG.warning("run %s is no longer ours: %s", self._run.run_id, error)
                    self._on_lost()
                    return False
                _LOG.info("the front is away, run %s goes on: %s", self._run.run_id, error)
            kept = [*_newest(self._sent), *self._unsent]
            self._sent, self._unsent = [], deque(kept)
            await asyncio.sleep(0.1)

    async def _one_stream(self) -> bool:
        """True: the front has the outcome."""
        call = self._stub.ReportRun(self._outgoing(), wait_for_ready=True)
        try:
            async for response in call:
                directive = decode_directive(response)
                if directive is Directive.CANCEL:
                    self._on_cancel()
                elif directive is Directive.STORED:
                    return True
            # A run that was given back is not answered; any other end without an error is the front's mistake.
            return self._outcome is not None and await call.code() == grpc.StatusCode.OK
        finally:
            call.cancel()

    async def _outgoing(self) -> AsyncIterator[pb.ReportRunRequest]:
        await self._something(_FIRST_S)
        yield encode_reports(self._next_burst(), Attach(self._run.run_id, self._run.lease_id))
        while True:
            # Events come in bursts, and a message costs more than what is in it.
            while len(burst := self._next_burst()) == _BURST:
                yield encode_reports(burst)
            if self._outcome is not None:
                yield encode_reports(burst, self._outcome)
                return
            if burst:
                yield encode_reports(burst)
                continue
            if not await self._something(self._heartbeat_s):
                yield encode_reports((), Heartbeat())

    async def _something(self, wait_s: float) -> bool:
        """Waits until there is something to say; False: there is not."""
        if self._unsent or self._outcome is not None:
            return True
        self._more.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._more.wait()
        except TimeoutError:
            return False
        return True

    def _next_burst(self) -> list[Happened]:
        burst: list[Happened] = []
        while self._unsent and len(burst) < _BURST:
            happened = self._unsent.popleft()
            if not is_preview(happened.body):
                self._remember(happened)
            burst.append(happened)
        return burst

    def _remember(self, happened: Happened) -> None:
        self._sent.append(happened)
        if len(self._sent) > 2 * self._max_unsent:
            self._sent = _newest(self._sent)


def _newest(events: list[Happened] | deque[Happened]) -> list[Happened]:
    """Without pictures, and of events of which only the newest matters just that one."""
    seen: set[object] = set()
    kept: list[Happened] = []
    for event in reversed(events):
        key = latest_key(event.body)
        if not is_preview(event.body) and (key is None or key not in seen):
            kept.append(event)
            seen.add(key)
    kept.reverse()
    return kept
