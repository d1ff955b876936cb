"""The order in which pending runs go: smallest number first, then first come first served."""

from __future__ import annotations

import heapq

from kit.errors import Busy
from orchestrator.runs.records import RunRecord


class Waiting:
    """Pending runs; bounded in count and in bytes of their prompts."""

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._bytes = 0
        self._runs: dict[str, RunRecord] = {}
        self._lent: set[str] = set()
        self._heap: list[tuple[float, int, str]] = []

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._runs

    @property
    def ready(self) -> int:
        """How many are not lent."""
        return len(self._runs) - len(self._lent)

    def __len__(self) -> int:
        return len(self._runs)

    def check_room(self, size: int) -> None:
        """Raises Busy (QUEUE_FULL) if a run of this many bytes does not fit."""
        if len(self._runs) >= self._limit:
            raise Busy("the queue is full", reason="QUEUE_FULL", limit=self._limit)
        if self._runs and self._bytes + size > self._limit_bytes:
            raise Busy("the queue is full", reason="QUEUE_FULL", limit_bytes=self._limit_bytes)

    def add(self, run: RunRecord) -> None:
        """Takes a run in; a run that comes back after a loss keeps its place and needs no room."""
        self._runs[run.run_id] = run
        self._bytes += run.bytes
        heapq.heappush(self._heap, (run.number, run.order, run.run_id))

    def remove(self, run_id: str) -> RunRecord | None:
        """Takes a run out, wherever it stands; None: it is not here."""
        run = self._runs.pop(run_id, None)
        self._lent.discard(run_id)
        if run is not None:
            self._bytes -= run.bytes
            if len(self._heap) > 2 * len(self._runs) + 16:  # mostly ids that left
                self._heap = [entry for entry in self._heap if entry[2] in self._runs]
                heapq.heapify(self._heap)
        return run

    def lend(self) -> RunRecord | None:
        """The next run for a worker that will begin it later: it stays listed, and nobody else gets it."""
        while self._heap:
            _, order, run_id = heapq.heappop(self._heap)
            run = self._runs.get(run_id)
            if run is not None and run.order == order and run_id not in self._lent:
                self._lent.add(run_id)
                return run
        return None

    def give_back(self, run_id: str) -> None:
        """A run that was lent and not begun waits again, at its old place."""
        if run_id in self._lent:
            self._lent.remove(run_id)
            run = self._runs[run_id]
            heapq.heappush(self._heap, (run.number, run.order, run_id))

    def ordered(self) -> list[RunRecord]:
        """All of them, next first."""
        return sorted(self._runs.values(), key=lambda run: (run.number, run.order))
