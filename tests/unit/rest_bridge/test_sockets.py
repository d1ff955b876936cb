"""Outboxes and who is registered."""

from __future__ import annotations

import asyncio

from rest_bridge.frames import Frame
from rest_bridge.sockets import Outbox, OutboxLimits, Sockets

LIMITS = OutboxLimits(messages=10, bytes=1000)


def outbox() -> Outbox:
    """An empty one."""
    return Outbox("a", LIMITS)


async def drained(box: Outbox) -> list[str | bytes]:
    """What waits, in order."""
    box.put(Frame("end"))
    frames = []
    while (frame := await box.next()).payload != "end":
        frames.append(frame.payload)
    return frames


async def test_frames_keep_their_order() -> None:
    box = outbox()
    for index in range(5):
        box.put(Frame(str(index)))
    assert await drained(box) == ["0", "1", "2", "3", "4"]


async def test_only_the_newest_previews_wait() -> None:
    box = outbox()
    for index in range(8):
        box.put(Frame(bytes([index]), droppable=True))
    box.put(Frame("text"))
    assert await drained(box) == [b"\4", b"\5", b"\6", b"\7", "text"]


async def test_previews_make_room() -> None:
    box = outbox()
    box.put(Frame("first"))
    box.put(Frame(b"p" * 900, droppable=True))
    box.put(Frame("x" * 500))
    assert not box.overflowed.is_set()
    assert await drained(box) == ["first", "x" * 500]


async def test_too_much_that_counts_is_an_overflow_and_frees_the_memory() -> None:
    box = outbox()
    for _ in range(11):
        box.put(Frame("x"))
    assert box.overflowed.is_set()
    box.put(Frame("more"))
    async with asyncio.timeout(1):
        waiting = asyncio.create_task(box.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()


async def test_bytes_are_counted_back_when_sent() -> None:
    box = outbox()
    for _ in range(50):
        box.put(Frame("x" * 900))
        await box.next()
    assert not box.overflowed.is_set()


async def test_a_later_socket_of_an_id_stays_when_the_earlier_closes() -> None:
    sockets = Sockets(2, LIMITS)
    old, new = sockets.open("a"), sockets.open("a")
    assert sockets.full() and list(sockets.of_client("a")) == [new] == list(sockets.everybody())
    sockets.close(old)
    assert list(sockets.of_client("a")) == [new] and len(sockets) == 1
    sockets.close(new)
    assert list(sockets.everybody()) == [] and not sockets.full()
