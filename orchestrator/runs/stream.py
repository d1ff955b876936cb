"""One worker's stream: what it says goes in, what it is told comes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from kit.errors import InvalidRequest, Unready
from orchestrator.runs.line import Line, Orders, Said
from orchestrator.runs.lines import Lines
from orchestrator.runs.pace import Pace


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
                name = first.hello.worker_id
                raise Unready("the worker was silent for too long; come back", reason="SILENT", worker=name)
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
    if line.ending:  # the last outcomes are answered
        await line.settled.wait()
