"""Everything that happens, in order, for those who watch: a bounded ring that each watcher reads at its own pace.

Nobody is waited for. Who falls behind the ring's start gets a typed error; pictures of work in progress leave the
ring long before events do, so a slow watcher first misses previews only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from kit.errors import Busy, NotFound, Unready
from orchestrator.runs.events import RunEvent, is_preview, weight
from orchestrator.runs.pace import Pace
from orchestrator.runs.signal import Signal

_TRIM = 1024  # dropped slots are cut off in blocks, which keeps appending cheap
_BURST, _BURST_BYTES = 64, 256 * 1024  # a message has a limit; one event may be larger


class Hub:
    """The ring of one front process; `epoch` names the process, sequence numbers start at 1."""

    def __init__(self, epoch: str, *, max_events: int, max_bytes: int, max_preview_bytes: int) -> None:
        self.epoch = epoch
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._max_preview_bytes = max_preview_bytes
        self._slots: list[RunEvent | None] = []
        self._dropped = 0  # events that left the ring, counting those still in `_slots` before `_head`
        self._head = 0
        self._bytes = 0
        self._preview_bytes = 0
        self._oldest_preview = 1
        self._stopped = False
        self._signal = Signal()

    @property
    def last_sequence(self) -> int:
        """Sequence of the newest event; 0: none yet."""
        return self._dropped + len(self._slots) - self._head

    def publish(self, event: RunEvent) -> None:
        """Appends an event, whose sequence must be `last_sequence + 1`."""
        assert event.sequence == self.last_sequence + 1
        self._slots.append(event)
        self._count(event, 1)
        while self._preview_bytes > self._max_preview_bytes:
            self._blank_oldest_preview()
        while self._bytes > self._max_bytes or len(self._slots) - self._head > self._max_events:
            self._drop_first()
        self._signal.notify()

    def watch(self, after: int = 0, epoch: str = "") -> AsyncIterator[list[RunEvent]]:
        """Events after `after` of `epoch`, in bursts: as many as there are, at least one.

        Without an epoch: from now; of another epoch: all that this one has. Raises NotFound (EVENTS_GONE) if they are
        no longer here, while watching Busy (WATCHER_TOO_SLOW).
        """
        if not epoch:
            cursor = self.last_sequence
        else:
            cursor = min(after, self.last_sequence) if epoch == self.epoch else 0
            if cursor < self._dropped:
                raise NotFound(
                    "these events are no longer kept; read queue and history, then watch from now",
                    reason="EVENTS_GONE",
                    oldest=self._dropped + 1,
                    epoch=self.epoch,
                )
        return self._follow(cursor)

    def stop(self) -> None:
        """Ends every watch with Unready (STOPPING)."""
        self._stopped = True
        self._signal.notify()

    async def _follow(self, cursor: int) -> AsyncIterator[list[RunEvent]]:
        pace = Pace()
        while True:
            if cursor == self.last_sequence:
                if self._stopped:
                    raise Unready("the front is stopping", reason="STOPPING")
                await self._signal.wait()
                continue
            if cursor < self._dropped:
                raise Busy("the watcher reads too slowly", reason="WATCHER_TOO_SLOW", missed=self._dropped - cursor)
            if (pause_s := pace.pause_s()) and not self._stopped:
                await asyncio.sleep(pause_s)
                if cursor < self._dropped:
                    continue
            burst: list[RunEvent] = []
            size = 0
            while cursor < self.last_sequence and len(burst) < _BURST and size < _BURST_BYTES:
                event = self._slots[self._head + cursor - self._dropped]
                cursor += 1
                if event is not None:
                    burst.append(event)
                    size += weight(event.body)
            if burst:
                yield burst

    def _count(self, event: RunEvent, sign: int) -> None:
        size = sign * weight(event.body)
        self._bytes += size
        if is_preview(event.body):
            self._preview_bytes += size

    def _blank_oldest_preview(self) -> None:
        self._oldest_preview = max(self._oldest_preview, self._dropped + 1)
        while True:
            index = self._head + self._oldest_preview - self._dropped - 1
            event = self._slots[index]
            self._oldest_preview += 1
            if event is not None and is_preview(event.body):
                self._count(event, -1)
                self._slots[index] = None
                return

    def _drop_first(self) -> None:
        event = self._slots[self._head]
        if event is not None:
            self._count(event, -1)
        self._slots[self._head] = None
        self._head += 1
        self._dropped += 1
        if self._head >= _TRIM:
            del self._slots[: self._head]
            self._head = 0
