"""A stop signal that threads can look at and an event loop can be woken by."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancel:
    """Set once, from any thread; never unset."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._watchers: list[Callable[[], None]] = []

    def set(self) -> None:
        """Tells everybody; watchers are called in this thread."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher()

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def watch(self, watcher: Callable[[], None]) -> None:
        """Calls `watcher` once when set; at once if it is set already."""
        with self._lock:
            if not self._event.is_set():
                self._watchers.append(watcher)
                return
        watcher()

    def unwatch(self, watcher: Callable[[], None]) -> None:
        """Forgets a watcher that was not called."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
