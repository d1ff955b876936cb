"""Telling the world: numbers events, puts them into the ring of all runs and the log of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from orchestrator.runs.events import Body, QueueChanged, RunEvent
from orchestrator.runs.hub import Hub
from orchestrator.runs.records import RunRecord
from orchestrator.runs.run_log import RunLog


class Feed:
    """Events of one front process."""

    def __init__(self, hub: Hub, now_ms: Callable[[], int]) -> None:
        self._hub = hub
        self._now_ms = now_ms

    @property
    def epoch(self) -> str:
        """Names the front process."""
        return self._hub.epoch

    def tell(self, run: RunRecord, log: RunLog, body: Body, timestamp_ms: int | None = None) -> None:
        """To all watchers."""
        event = self._event(run, self._hub.last_sequence + 1, body, timestamp_ms)
        self._hub.publish(event)
        log.append(event)

    def tell_own(self, run: RunRecord, log: RunLog, body: Body) -> None:
        """Only to those who watch this very run; something must have been told to all since its last event."""
        log.append(self._event(run, self._hub.last_sequence, body, None))

    def queue_changed(self, remaining: int) -> None:
        """To all watchers of all runs."""
        sequence = self._hub.last_sequence + 1
        self._hub.publish(RunEvent("", sequence, "", self._now_ms(), self.epoch, QueueChanged(remaining)))

    def watch(self, after: int, epoch: str) -> AsyncIterator[list[RunEvent]]:
        """See Hub.watch."""
        return self._hub.watch(after, epoch)

    def stop(self) -> None:
        """Ends every watch with Unready (STOPPING)."""
        self._hub.stop()

    def _event(self, run: RunRecord, sequence: int, body: Body, timestamp_ms: int | None) -> RunEvent:
        at = self._now_ms() if timestamp_ms is None else timestamp_ms
        return RunEvent(run.run_id, sequence, run.client_id, at, self.epoch, body)
