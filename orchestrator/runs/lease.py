"""A run in a worker's hands, and the workers that wait for one."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.runs.records import FreeRequest, RunRecord

if TYPE_CHECKING:
    from orchestrator.runs.line import Line


def new_lease_id() -> str:
    """A word that no other lease has or can guess."""
    return secrets.token_hex(16)


@dataclass(eq=False)
class Lease:
    """One worker's hold on one run; `void` once it has ended or passed on, and then nothing it says counts.

    `began`: the worker is known to have begun, so its silence is a loss. `cancel` is set when the run is to stop.
    The rest is of leases that travel over a worker's `line`: handed out, begun for all to see, computed to the end,
    asked back, and asked back because nobody shall have it.
    """

    lease_id: str
    run_id: str
    worker_id: str
    deadline: float
    attached: bool = False
    began: bool = False
    void: bool = False
    cancel: asyncio.Event = field(default_factory=asyncio.Event)
    line: Line | None = None
    delivered: bool = False
    announced: bool = False
    computed: bool = False
    recalled: bool = False
    unwanted: bool = False
    _decided: asyncio.Future[None] | None = None

    @property
    def decided(self) -> asyncio.Future[None]:
        """Done when a lease that was asked back is back, or has begun."""
        if self._decided is None:
            self._decided = asyncio.get_running_loop().create_future()
        return self._decided

    def decide(self) -> None:
        """It is back, or has begun."""
        self.recalled = False
        if self._decided is not None and not self._decided.done():
            self._decided.set_result(None)

    def stop(self) -> None:
        """Tells the worker to stop the run."""
        self.cancel.set()
        if self.line is not None:
            self.line.tell(cancelled=self.lease_id)


class Workers:
    """Who waits for work, who was seen lately, and what each is still to free. Times are the event loop's seconds."""

    _SEEN_S = 40.0  # longer than a worker waits in one call

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, asyncio.Future[RunRecord | None]] = OrderedDict()
        self._seen: dict[str, float] = {}
        self._to_free: dict[str, FreeRequest] = {}

    def seen(self, worker_id: str, now: float) -> None:
        """Notes a sign of life."""
        self._seen[worker_id] = now

    def gone(self, worker_id: str) -> None:
        """Forgets a worker whose connection ended."""
        self._seen.pop(worker_id, None)
        self._to_free.pop(worker_id, None)

    def count(self, now: float) -> int:
        """Workers that live, as far as known."""
        self._seen = {worker: at for worker, at in self._seen.items() if now - at < self._SEEN_S}
        return len(self._seen)

    def wait(self, worker_id: str) -> asyncio.Future[RunRecord | None]:
        """A future that gets a run, or None when there is something to free. A second wait replaces the first."""
        future: asyncio.Future[RunRecord | None] = asyncio.get_running_loop().create_future()
        earlier = self._waiting.pop(worker_id, None)
        if earlier is not None and not earlier.done():
            earlier.set_result(None)
        self._waiting[worker_id] = future
        return future

    def leave(self, worker_id: str, future: asyncio.Future[RunRecord | None]) -> None:
        """Ends a wait."""
        if self._waiting.get(worker_id) is future:
            del self._waiting[worker_id]

    @property
    def any_waiting(self) -> bool:
        """Whether somebody waits."""
        return any(not future.done() for future in self._waiting.values())

    def pop_waiting(self) -> tuple[str, asyncio.Future[RunRecord | None]] | None:
        """The worker that became idle last: its cache is the warmest."""
        while self._waiting:
            worker_id, future = self._waiting.popitem(last=True)
            if not future.done():
                return worker_id, future
        return None

    def ask_to_free(self, request: FreeRequest) -> None:
        """Every living worker is told with its next answer; waiting ones at once."""
        for worker_id in self._seen:
            self._to_free[worker_id] = self._to_free.get(worker_id, FreeRequest()) | request
        waiting, self._waiting = self._waiting, OrderedDict()
        for future in waiting.values():
            if not future.done():
                future.set_result(None)

    def take_free(self, worker_id: str) -> FreeRequest:
        """What this worker is to free; told once."""
        return self._to_free.pop(worker_id, FreeRequest())
