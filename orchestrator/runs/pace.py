"""How often a message goes out: at once while there are few, in bursts once they come thick and fast."""

from __future__ import annotations

import time
from collections.abc import Callable

_AT_ONCE = 4
_GAP_S = 0.005


class Pace:
    """A message costs both ends far more than what is in it, so a stream that is busy sends fewer and fuller ones."""

    def __init__(
        self, at_once: int = _AT_ONCE, gap_s: float = _GAP_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gap_s = gap_s
        self._ahead_s = at_once * gap_s
        self._clock = clock
        self._due = 0.0

    def pause_s(self) -> float:
        """Takes a turn; how long to wait before it, so that on the average one comes a gap."""
        now = self._clock()
        self._due = max(self._due, now - self._ahead_s) + self._gap_s
        return max(0.0, self._due - now)
