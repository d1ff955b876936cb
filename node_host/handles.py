"""Objects that stay in this process, by who was given an id for them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from typing import Any

from kit.node_values import HandleRef


class HandleLost(LookupError):
    """The id means nothing here: another process gave it out, or its holder was gone for a while."""


class Handles:
    """Safe for threads."""

    def __init__(self, limit: int = 100_000) -> None:
        self._held: dict[str, dict[str, Any]] = {}
        self._limit = limit
        self._lock = threading.Lock()

    def begin(self, holder: str) -> None:
        """Somebody who may hold objects is there."""
        with self._lock:
            self._held[holder] = {}

    def end(self, holder: str) -> None:
        """It is gone, and its objects with it."""
        with self._lock:
            self._held.pop(holder, None)

    def keep(self, holder: str, value: Any, size_bytes: int | None = None) -> HandleRef:
        """A new id; without a size it is the value's own `nbytes`.

        Raises HandleLost if the holder is gone, MemoryError if it holds too many.
        """
        size = int(getattr(value, "nbytes", 0)) if size_bytes is None else size_bytes
        ref = HandleRef(secrets.token_hex(12), size)
        with self._lock:
            held = self._held.get(holder)
            if held is None:
                raise HandleLost
            if len(held) >= self._limit:
                raise MemoryError(f"{self._limit} objects are kept for one holder already")
            held[ref.id] = value
        return ref

    def get(self, holder: str, handle_id: str) -> Any:
        """Raises HandleLost."""
        with self._lock:
            try:
                return self._held[holder][handle_id]
            except KeyError:
                raise HandleLost from None

    def release(self, holder: str, handle_ids: Iterable[str]) -> None:
        """Unknown ones are ignored."""
        with self._lock:
            held = self._held.get(holder, {})
            for handle_id in handle_ids:
                held.pop(handle_id, None)

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._held.values()))
