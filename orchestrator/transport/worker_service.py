"""heliograph.graph.v1.WorkerService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from heliograph.graph.v1 import worker_service_pb2 as pb
from heliograph.graph.v1 import worker_service_pb2_grpc as rpc

from orchestrator.runs.leasing import Leasing
from orchestrator.runs.line import Said
from orchestrator.runs.reporting import converse, orders
from orchestrator.runs.reports import Report
from orchestrator.transport.codec_lines import decode_said, encode_orders
from orchestrator.transport.codec_workers import decode_reports, encode_directive, encode_offer

_MAX_WAIT_S = 60.0


class WorkerServicer(rpc.WorkerServiceServicer):
    """What workers call. `stopping` ends their reports so that they come back to the next front."""

    def __init__(self, leasing: Leasing, stopping: asyncio.Event) -> None:
        self._leasing = leasing
        self._stopping = stopping

    async def LeaseRun(self, request: pb.LeaseRunRequest, context: Any) -> pb.LeaseRunResponse:
        """Blocks until a run is leased or the wait is over."""
        wait_s = min(request.wait_ms / 1000, _MAX_WAIT_S)
        return encode_offer(await self._leasing.lease(request.worker_id, wait_s))

    async def ReportRun(
        self, request_iterator: AsyncIterator[pb.ReportRunRequest], context: Any
    ) -> AsyncIterator[pb.ReportRunResponse]:
        """One stream per leased run."""
        async with aclosing(converse(self._leasing, _decoded(request_iterator), self._stopping)) as directives:
            async for directive in directives:
                yield encode_directive(directive)

    async def Work(
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: Any
    ) -> AsyncIterator[pb.WorkResponse]:
        """One stream per worker."""
        async with aclosing(orders(self._leasing.lines, _said(request_iterator), self._stopping)) as told:
            async for each in told:
                yield encode_orders(each)


async def _said(requests: AsyncIterator[pb.WorkRequest]) -> AsyncIterator[Said]:
    async for request in requests:
        yield decode_said(request)


async def _decoded(requests: AsyncIterator[pb.ReportRunRequest]) -> AsyncIterator[Report]:
    async for request in requests:
        for report in decode_reports(request):
            yield report
