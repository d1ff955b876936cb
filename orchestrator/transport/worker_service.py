"""heliograph.graph.v1.WorkerService: decode, call, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from heliograph.graph.v1 import worker_service_pb2 as pb
from heliograph.graph.v1 import worker_service_pb2_grpc as rpc

from orchestrator.runs.line import Said
from orchestrator.runs.lines import Lines
from orchestrator.runs.stream import orders
from orchestrator.transport.codec_lines import decode_said, encode_orders


class WorkerServicer(rpc.WorkerServiceServicer):
    """What workers call. `stopping` ends their streams so that they come back to the next front."""

    def __init__(self, lines: Lines, stopping: asyncio.Event) -> None:
        self._lines = lines
        self._stopping = stopping

    async def Work(
        self, request_iterator: AsyncIterator[pb.WorkRequest], context: Any
    ) -> AsyncIterator[pb.WorkResponse]:
        """One stream per worker."""
        async with aclosing(orders(self._lines, _said(request_iterator), self._stopping)) as told:
            async for each in told:
                yield encode_orders(each)


async def _said(requests: AsyncIterator[pb.WorkRequest]) -> AsyncIterator[Said]:
    async for request in requests:
        yield decode_said(request)
