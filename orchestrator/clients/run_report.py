"""One run's news on their way to the front, in order, kept until the front has stored how it ended."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable

from orchestrator.runs.events import Body, is_preview, latest_key
from orchestrator.runs.line import LeaseReport
from orchestrator.runs.records import Outcome, RunRecord
from orchestrator.runs.reports import Attach, Happened


class RunReport:
    """What was sent is kept (without pictures, of repeated reports only the newest): a front that restarts knows
    nothing of it.

    `done`: True when the front has stored the outcome (or taken the run back), False when the lease is lost.
    """

    def __init__(self, run: RunRecord, on_news: Callable[[], None], max_unsent: int) -> None:
        self.held = Attach(run.run_id, run.lease_id)
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._on_news = on_news
        self._max_unsent = max_unsent
        self._sent: list[Happened] = []
        self._unsent: deque[Happened] = deque()
        self._outcome: Outcome | None = None
        self._begun_said = self._outcome_said = self._muted = False

    def tell(self, body: Body) -> None:
        """Queues an event (call it on the event loop); while the front is away only a bounded part is kept."""
        if self._muted:
            return
        self._unsent.append(Happened(body, time.time_ns() // 1_000_000))
        if len(self._unsent) > self._max_unsent:
            self._unsent = deque(_newest(self._unsent))
        self._on_news()

    def mute(self) -> None:
        """Ignores events from now on: the run is given back."""
        self._muted = True

    def end(self, outcome: Outcome) -> None:
        """Queues the last word."""
        self._outcome = outcome
        self._on_news()

    def settle(self, stored: bool) -> None:
        """The front has answered."""
        if not self.done.done():
            self.done.set_result(stored)

    @property
    def said(self) -> bool:
        """Whether the outcome has been sent."""
        return self._outcome_said

    def next(self, room: int) -> LeaseReport | None:
        """What is to be said now: at most `room` events, and the outcome once they are out. None: nothing."""
        burst: list[Happened] = []
        while self._unsent and len(burst) < room:
            happened = self._unsent.popleft()
            if not is_preview(happened.body):
                self._remember(happened)
            burst.append(happened)
        outcome = None if self._unsent or self._outcome_said else self._outcome
        self._outcome_said = self._outcome_said or outcome is not None
        return self._report(tuple(burst), outcome)

    def begun(self) -> LeaseReport | None:
        """That the run has begun, while the news of an earlier one are not complete. None: that was said."""
        return self._report((), None)

    def rewind(self) -> None:
        """To be said again, to another front."""
        self._sent, self._unsent = [], deque([*_newest(self._sent), *self._unsent])
        self._begun_said = self._outcome_said = False

    def _report(self, happened: tuple[Happened, ...], outcome: Outcome | None) -> LeaseReport | None:
        begun, self._begun_said = not self._begun_said, True
        if not (begun or happened or outcome):
            return None
        return LeaseReport(self.held.lease_id, begun, happened, outcome)

    def _remember(self, happened: Happened) -> None:
        self._sent.append(happened)
        if len(self._sent) > 2 * self._max_unsent:
            self._sent = _newest(self._sent)


def _newest(events: Iterable[Happened]) -> list[Happened]:
    """Without pictures, and of events of which only the newest matters just that one."""
    seen: set[object] = set()
    kept: list[Happened] = []
    for event in reversed(list(events)):
        key = latest_key(event.body)
        if not is_preview(event.body) and (key is None or key not in seen):
            kept.append(event)
            seen.add(key)
    kept.reverse()
    return kept
