"""Telling in order: what has to be stored first holds back everything after it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

Words = Callable[[], None]

MAX_HELD = 2000


class Voice:
    """What one worker makes the front tell, for one event loop."""

    def __init__(self) -> None:
        self._held: deque[tuple[asyncio.Future[None] | None, Words]] = deque()
        self._room = asyncio.Event()
        self._room.set()

    def say(self, words: Words, after: asyncio.Future[None] | None = None) -> None:
        """Calls `words` once all that was said before is out and `after` is done; at once if that is so now."""
        if not self._held and (after is None or after.done()):
            words()
            return
        self._held.append((after, words))
        if len(self._held) >= MAX_HELD:
            self._room.clear()
        if after is not None:
            after.add_done_callback(self._go_on)

    async def room(self) -> None:
        """Waits while much is held back: whoever reports faster than the disk takes it is not read meanwhile."""
        await self._room.wait()

    def _go_on(self, _: object) -> None:
        while self._held:
            after, words = self._held[0]
            if after is not None and not after.done():
                return
            self._held.popleft()
            words()
        self._room.set()
