"""What happened in one unfinished run, for those who watch it from its beginning; bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

from kit.errors import Busy, Unready
from orchestrator.runs.events import Ended, RunEvent, latest_key, weight
from orchestrator.runs.signal import Signal


class RunLog:
    """Events of a run. When it grows over its bound only the newest of repeated reports (steps, previews) stay."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: list[RunEvent] = []
        self._floor = 0  # sequence up to which not even structural events are complete
        self._compact_at = max_events
        self._stopped = False
        self._signal = Signal()

    def append(self, event: RunEvent) -> None:
        """Adds the newest event."""
        self._events.append(event)
        self._bytes += weight(event.body)
        if len(self._events) > self._compact_at or self._bytes > self._max_bytes:
            self._compact()
        self._signal.notify()

    def stop(self) -> None:
        """Ends every watch with Unready (STOPPING)."""
        self._stopped = True
        self._signal.notify()

    async def follow(self) -> AsyncIterator[RunEvent]:
        """All events from the first, then live ones; ends after Ended. Raises Busy (WATCHER_TOO_SLOW)."""
        cursor = 0
        while True:
            fresh = self._after(cursor)
            if not fresh:
                if self._stopped:
                    raise Unready("the front is stopping", reason="STOPPING")
                await self._signal.wait()
                continue
            if cursor and cursor < self._floor:
                raise Busy("the watcher reads too slowly", reason="WATCHER_TOO_SLOW")
            for event in fresh:
                cursor = event.sequence
                yield event
                if isinstance(event.body, Ended):
                    return

    def _after(self, cursor: int) -> list[RunEvent]:
        index = len(self._events)
        while index and self._events[index - 1].sequence > cursor:
            index -= 1
        return self._events[index:]

    def _compact(self) -> None:
        seen: set[object] = set()
        kept: list[RunEvent] = []
        for event in reversed(self._events):
            key = latest_key(event.body)
            if key is None or key not in seen:
                kept.append(event)
                seen.add(key)
        kept.reverse()
        size = sum(weight(event.body) for event in kept)
        while kept and (len(kept) > self._max_events or size > self._max_bytes) and len(kept) > 1:
            gone = kept.pop(0)
            self._floor = gone.sequence
            size -= weight(gone.body)
        self._events, self._bytes = kept, size
        self._compact_at = max(self._max_events, 2 * len(kept))
