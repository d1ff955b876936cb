"""One worker's report of one leased run: what it says goes in, what it must do comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

from kit.errors import InvalidRequest, Unready
from orchestrator.runs.events import Body
from orchestrator.runs.lease import Lease
from orchestrator.runs.leasing import Leasing
from orchestrator.runs.records import Outcome, RunState


@dataclass(frozen=True)
class Attach:
    """First message: which lease."""

    run_id: str
    lease_id: str


@dataclass(frozen=True)
class Happened:
    """An event of the run."""

    body: Body
    timestamp_ms: int


@dataclass(frozen=True)
class Heartbeat:
    """The worker lives."""


Report = Attach | Happened | Heartbeat | Outcome


class Directive(Enum):
    """What the front answers."""

    ATTACHED = 1
    CANCEL = 2
    STORED = 3


async def converse(
    leasing: Leasing, reports: AsyncIterator[Report], stopping: asyncio.Event
) -> AsyncGenerator[Directive, None]:
    """Directives for a worker. An outcome of state PENDING gives the run back; an end without outcome is a loss.

    Raises Conflict (LEASE_LOST), InvalidRequest, Unready (STOPPING: come back to the next front).
    """
    first = await anext(reports, None)
    if not isinstance(first, Attach):
        raise InvalidRequest("the first report must name the lease", reason="NOT_ATTACHED")
    lease = leasing.attach(first.run_id, first.lease_id)
    try:
        yield Directive.ATTACHED
        async with aclosing(_directives(leasing, lease, reports, stopping)) as directives:
            async for directive in directives:
                yield directive
    finally:
        leasing.detach(lease, given_back=False)


async def _directives(
    leasing: Leasing, lease: Lease, reports: AsyncIterator[Report], stopping: asyncio.Event
) -> AsyncGenerator[Directive, None]:
    reader = asyncio.create_task(_take_in(leasing, lease, reports))
    cancelled, stopped = asyncio.create_task(lease.cancel.wait()), asyncio.create_task(stopping.wait())
    waiting: set[asyncio.Task[bool]] = {reader, cancelled, stopped}
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if reader in done:
                if reader.result():
                    yield Directive.STORED
                return
            if stopped in done:
                raise Unready("the front is stopping", reason="STOPPING")
            waiting.discard(cancelled)
            yield Directive.CANCEL
    finally:
        for task in (reader, cancelled, stopped):
            task.cancel()
        await asyncio.gather(reader, cancelled, stopped, return_exceptions=True)


async def _take_in(leasing: Leasing, lease: Lease, reports: AsyncIterator[Report]) -> bool:
    """Believes reports until the outcome; True: it is stored. False: given back, or the stream just ended."""
    async for report in reports:
        match report:
            case Happened():
                leasing.report(lease, report.body, report.timestamp_ms)
            case Heartbeat():
                leasing.heartbeat(lease)
            case Outcome(state=RunState.PENDING):
                leasing.detach(lease, given_back=True)
                return False
            case Outcome():
                await leasing.end(lease, report)
                return True
            case _:
                raise InvalidRequest("the lease was named already", reason="ATTACHED_TWICE")
    return False
