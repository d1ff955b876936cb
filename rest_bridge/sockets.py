"""Connected WebSocket clients: one bounded outbox each, so that nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rest_bridge.absences import Absence, Absences
from rest_bridge.frames import Frame

# A client that lags sees the newest pictures, not a film of old ones.
_MAX_QUEUED_PREVIEWS = 4


@dataclass(frozen=True)
class OutboxLimits:
    """When a client counts as too slow."""

    messages: int
    bytes: int


class Outbox:
    """What one client has not received yet. Filled from the event loop without waiting; emptied by its sender."""

    def __init__(self, client_id: str, limits: OutboxLimits) -> None:
        self.client_id = client_id
        self.preview_metadata = False
        self.missed: list[Frame] = []
        self._limits = limits
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._previews = 0
        self._filled = asyncio.Event()
        self.overflowed = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Queues a frame; beyond the limits drops previews, and if that is not enough marks the client as too slow."""
        if self.overflowed.is_set():
            return
        self._frames.append(frame)
        self._bytes += frame.size
        self._previews += frame.droppable
        if self._previews > _MAX_QUEUED_PREVIEWS:
            self._drop_previews(keep=_MAX_QUEUED_PREVIEWS)
        if self._too_full():
            self._drop_previews(keep=0)
            if self._too_full():
                self._frames.clear()
                self._bytes = 0
                self.overflowed.set()
        self._filled.set()

    async def next(self) -> Frame:
        """The oldest frame, waiting for one."""
        while not self._frames:
            self._filled.clear()
            await self._filled.wait()
        frame = self._frames.popleft()
        self._bytes -= frame.size
        self._previews -= frame.droppable
        return frame

    def put_back(self, frame: Frame) -> None:
        """A frame of `next` that did not get through."""
        self._frames.appendleft(frame)
        self._bytes += frame.size
        self._previews += frame.droppable

    def take_unsent(self) -> list[Frame]:
        """Empties it for another socket of the same client."""
        unsent = list(self._frames)
        self._frames.clear()
        self._bytes = self._previews = 0
        return unsent

    def _too_full(self) -> bool:
        return len(self._frames) > self._limits.messages or self._bytes > self._limits.bytes

    def _drop_previews(self, keep: int) -> None:
        surplus = self._previews - keep
        kept: deque[Frame] = deque()
        for frame in self._frames:  # oldest first
            if frame.droppable and surplus > 0:
                surplus -= 1
                self._previews -= 1
                self._bytes -= frame.size
            else:
                kept.append(frame)
        self._frames = kept


Recipient = Outbox | Absence


class Sockets:
    """Who is connected under which client id. A later socket of an id takes over; the earlier gets nothing more.

    Who leaves is expected back for `reconnect_s` seconds: then it gets what it missed.
    """

    def __init__(
        self,
        limit: int,
        outbox_limits: OutboxLimits,
        reconnect_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._outbox_limits = outbox_limits
        self._absences = Absences(reconnect_s, clock)
        self._by_client: dict[str, Outbox] = {}
        self._open = 0

    def __len__(self) -> int:
        return self._open

    def full(self) -> bool:
        """True when no further client is taken."""
        return self._open >= self._limit

    def open(self, client_id: str) -> Outbox:
        """Registers a client; `missed` is what it should be told before anything new."""
        outbox = Outbox(client_id, self._outbox_limits)
        earlier = self._by_client.get(client_id)
        unsent = [] if earlier is None else [frame for frame in earlier.take_unsent() if frame.lasting]
        outbox.missed = [*self._absences.end(client_id), *unsent]
        self._by_client[client_id] = outbox
        self._open += 1
        return outbox

    def close(self, outbox: Outbox) -> None:
        """Forgets a client; if its id was taken over, the newer socket stays."""
        self._open -= 1
        if self._by_client.get(outbox.client_id) is outbox:
            del self._by_client[outbox.client_id]
            self._absences.begin(outbox.client_id, outbox.preview_metadata, outbox.take_unsent())

    def everybody(self) -> Iterator[Outbox]:
        """All registered clients."""
        return iter(self._by_client.values())

    def connected(self, client_id: str) -> Outbox | None:
        """The client of this id, if it is connected."""
        return self._by_client.get(client_id)

    def of_client(self, client_id: str) -> Iterator[Recipient]:
        """The client of this id, if it is connected or expected back."""
        found = self._by_client.get(client_id) or self._absences.of_client(client_id)
        return iter(() if found is None else (found,))
