"""Which call of a node is running here, for progress and cancellation from inside pack code."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from node_host.nodes import Call, Cancelled, Preview


class InterruptProcessingException(Exception):
    """The run was cancelled. Packs know this name from comfy.model_management."""


@dataclass
class Running:
    """A call; `graphs`: how many GraphBuilders it has made so far."""

    call: Call
    class_type: str
    graphs: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_graph(self) -> str:
        """Prefix of the ids of its next graph: PARENT.CALL.GRAPH. (with the dot)."""
        with self._lock:
            number = self.graphs
            self.graphs += 1
        return f"{self.call.id_prefix}{number}."


_CURRENT: ContextVar[Running | None] = ContextVar("running", default=None)
_ALL: list[Running] = []
_GUARD = threading.Lock()


@contextmanager
def running(call: Call, class_type: str) -> Iterator[Running]:
    """In this thread or task, until the block ends."""
    entry = Running(call, class_type)
    token = _CURRENT.set(entry)
    with _GUARD:
        _ALL.append(entry)
    try:
        yield entry
    finally:
        with _GUARD:
            _ALL.remove(entry)
        _CURRENT.reset(token)


def current() -> Running | None:
    """This thread's or task's; in a thread that a pack started itself, the only one there is."""
    entry = _CURRENT.get()
    if entry is not None:
        return entry
    with _GUARD:
        return _ALL[0] if len(_ALL) == 1 else None


def progress(value: float, maximum: float, preview: Preview | None = None) -> None:
    """Told to clients if a node runs. Raises InterruptProcessingException."""
    entry = current()
    if entry is None:
        return
    try:
        entry.call.progress(value, maximum, preview)
    except Cancelled:
        raise InterruptProcessingException from None


def check_interrupted() -> None:
    """Raises InterruptProcessingException if the run is no longer wanted."""
    entry = current()
    if entry is not None and entry.call.cancelled:
        raise InterruptProcessingException
