"""One worker's report of one leased run: what it says goes in, what it must do comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from enum import Enum

from kit.errors import InvalidRequest, Unready
from orchestrator.runs.lease import Lease
from orchestrator.runs.leasing import Leasing
from orchestrator.runs.line import Line, Orders, Said
from orchestrator.runs.lines import Lines
from orchestrator.runs.pace import Pace
from orchestrator.runs.records import Outcome, RunState
from orchestrator.runs.reports import Attach, Happened, Heartbeat, Report


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


async def orders(lines: Lines, said: AsyncIterator[Said], stopping: asyncio.Event) -> AsyncGenerator[Orders, None]:
    """What a worker is told over its stream.

    Raises InvalidRequest (NO_HELLO), Unready (STOPPING: come back to the next front; SILENT: come back).
    """
    first = await anext(said, None)
    if first is None or first.hello is None:
        raise InvalidRequest("the first message must name the worker", reason="NO_HELLO")
    if stopping.is_set():
        raise Unready("the front is stopping", reason="STOPPING")
    pace, line = Pace(), lines.open(first.hello)
    lines.hear(line, first)
    reader = asyncio.create_task(_listen(line, lines, said))
    stopped = asyncio.create_task(stopping.wait())
    try:
        while True:
            changed = asyncio.create_task(line.changed.wait())
            try:
                await asyncio.wait({reader, stopped, changed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            if reader.done():
                await reader
                return
            if stopped.done():
                raise Unready("the front is stopping", reason="STOPPING")
            if line.closed:
                raise Unready("the worker was silent for too long; come back", reason="SILENT")
            await asyncio.sleep(pace.pause_s())
            if told := line.next_orders():
                yield told
    finally:
        reader.cancel()
        stopped.cancel()
        lines.close(line, keep=stopping.is_set())
        await asyncio.gather(reader, stopped, return_exceptions=True)


async def _listen(line: Line, lines: Lines, said: AsyncIterator[Said]) -> None:
    async for each in said:
        lines.hear(line, each)
        await line.voice.room()
    while line.ending and not line.closed:  # the last outcomes are answered
        await asyncio.sleep(0.01)
