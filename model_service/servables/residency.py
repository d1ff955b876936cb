"""Who is in memory: servables come when they are called and the least recently used leave when the budget is spent."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar

from kit.errors import Busy, NotFound, Stopped, Unready
from model_service.archs.spec import Signature
from model_service.runtime.engine import Cancellation

_LOG = logging.getLogger(__name__)


class Occupant(Protocol):
    """A servable in memory. `memory_bytes` is private, `mapped_bytes` the weights used where their file is mapped."""

    @property
    def memory_bytes(self) -> int: ...
    @property
    def mapped_bytes(self) -> int: ...
    def close(self) -> None:
        """Gives the memory back; nobody uses it any more."""


Occupies = TypeVar("Occupies", bound=Occupant)


@dataclass(frozen=True)
class Candidate(Generic[Occupies]):
    """A servable that can be brought into memory at any time. `estimate_bytes` is what it will take there.

    `name` is its file's, for people. `open` raises typed errors.
    """

    id: str
    arch: str
    name: str
    signature: Signature
    estimate_bytes: int
    open: Callable[[], Occupies]


class State(Enum):
    """READY: in memory; COLD: loads at its next call; WITHDRAWN: a client unloaded it, calls are refused."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    LEAVING = "leaving"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True)
class Resident:
    """One servable as `Residency.all` shows it; `bytes` private and mapped together, 0 where it is not in memory."""

    id: str
    arch: str
    name: str
    bytes: int
    active: int
    state: State


@dataclass
class _Entry(Generic[Occupies]):
    candidate: Candidate[Occupies]
    state: State = State.COLD
    occupant: Occupies | None = None
    bytes: int = 0
    active: int = 0
    used_ms: int = 0
    order: int = 0
    withdrawn: bool = field(default=False)

    def shown(self) -> Resident:
        return Resident(
            self.candidate.id, self.candidate.arch, self.candidate.name, self.bytes, self.active,
            State.WITHDRAWN if self.withdrawn else self.state,
        )  # fmt: skip


class Residency(Generic[Occupies]):
    """Keeps servables within `budget_bytes`; safe for threads.

    One with calls in flight never leaves. One alone is always possible, also if it is larger than the budget. Loading
    waits up to `patience_s` for room that others hold, then Busy (NO_MEMORY). `recency` knows uses that do not come
    through here: servable id -> Unix milliseconds.
    """

    def __init__(
        self, budget_bytes: int, patience_s: float = 120.0, recency: Callable[[], Mapping[str, int]] = dict
    ) -> None:
        self.budget_bytes = budget_bytes
        self._recency = recency
        self._patience_s = patience_s
        self._entries: dict[str, _Entry[Occupies]] = {}
        self._changed = threading.Condition()
        self._ticks = 0
        self._loading = False

    def admit(self, candidate: Candidate[Occupies]) -> None:
        """Make it known; one that a client had withdrawn may be called again."""
        with self._changed:
            entry = self._entries.get(candidate.id)
            if entry is None:
                self._entries[candidate.id] = _Entry(candidate)
            else:
                entry.withdrawn = False
                if entry.state is State.COLD:
                    entry.candidate = candidate
            self._changed.notify_all()

    def forget(self, servable_id: str) -> bool:
        """Drop what is known of a servable that is not in memory; False where it is in memory or in use."""
        with self._changed:
            entry = self._entries.get(servable_id)
            if entry is None:
                return True
            if entry.state is not State.COLD:
                return False
            del self._entries[servable_id]
            return True

    def knows(self, servable_id: str) -> bool:
        """Whether `admit` saw it (and `forget` did not)."""
        return servable_id in self._entries

    def candidate(self, servable_id: str) -> Candidate[Occupies]:
        """What `admit` got; NotFound (SERVABLE_NOT_FOUND)."""
        with self._changed:
            return self._known(servable_id).candidate

    @contextmanager
    def lease(self, servable_id: str, cancel: Cancellation | None = None) -> Iterator[Occupies]:
        """The servable, in memory for as long as the block runs.

        Raises NotFound (SERVABLE_NOT_FOUND), Unready (SERVABLE_UNLOADED), Busy (NO_MEMORY), Stopped, and what opening
        it raises.
        """
        entry, occupant = self._enter(servable_id, cancel)
        try:
            yield occupant
        finally:
            self._leave(entry)

    def load(self, servable_id: str) -> None:
        """Bring it into memory; idempotent, and undoes `unload`. Errors as `lease`."""
        with self._changed:
            self._known(servable_id).withdrawn = False
        with self.lease(servable_id):
            pass

    def unload(self, servable_id: str) -> None:
        """Refuse its calls from now on until `load` or `admit`; those in flight end, then its memory is given back."""
        with self._changed:
            entry = self._known(servable_id)
            entry.withdrawn = True
            self._changed.notify_all()
            closing = self._take_out(entry) if entry.state is State.READY and not entry.active else None
        self._close(entry, closing)

    def evict(self, servable_id: str) -> None:
        """Give its memory back now if no call uses it; its next call loads it again."""
        with self._changed:
            entry = self._known(servable_id)
            closing = self._take_out(entry) if entry.state is State.READY and not entry.active else None
        self._close(entry, closing)

    def release_idle(self) -> int:
        """Every servable without calls leaves memory (its next call loads it again); how many did."""
        released = 0
        while (victim := self._next_victim()) is not None:
            self._close(*victim)
            released += 1
        return released

    def all(self) -> tuple[Resident, ...]:
        """Every known servable, least recently used first."""
        with self._changed:
            return tuple(entry.shown() for entry in sorted(self._entries.values(), key=lambda entry: entry.order))

    @property
    def used_bytes(self) -> int:
        """Estimated use now."""
        with self._changed:
            return self._used()

    def wake(self) -> None:
        """Let waiting calls look whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _known(self, servable_id: str) -> _Entry[Occupies]:
        entry = self._entries.get(servable_id)
        if entry is None:
            raise NotFound("no such servable", reason="SERVABLE_NOT_FOUND", servable=servable_id[:128])
        return entry

    def _enter(self, servable_id: str, cancel: Cancellation | None) -> tuple[_Entry[Occupies], Occupies]:
        deadline = time.monotonic() + self._patience_s
        with self._changed:
            while True:
                entry = self._known(servable_id)
                if entry.withdrawn:
                    raise Unready("the servable was unloaded", reason="SERVABLE_UNLOADED", servable=servable_id)
                if entry.state is State.READY and entry.occupant is not None:
                    entry.active += 1
                    self._touch(entry)
                    return entry, entry.occupant
                if entry.state is State.COLD and not self._loading:
                    self._loading, entry.state = True, State.LOADING
                    break
                self._wait(deadline, cancel, servable_id)
        try:
            self._make_room(entry, deadline, cancel)
            occupant = entry.candidate.open()
        except BaseException:
            self._loaded(entry, None)
            raise
        self._loaded(entry, occupant)
        while self.used_bytes > self.budget_bytes and (victim := self._next_victim()) is not None:
            self._close(*victim)  # it took more than was estimated
        return entry, occupant

    def _loaded(self, entry: _Entry[Occupies], occupant: Occupies | None) -> None:
        with self._changed:
            self._loading = False
            entry.occupant = occupant
            entry.state = State.COLD if occupant is None else State.READY
            entry.bytes = 0 if occupant is None else occupant.memory_bytes + occupant.mapped_bytes
            entry.active += occupant is not None
            self._touch(entry)
            self._changed.notify_all()

    def _make_room(self, entry: _Entry[Occupies], deadline: float, cancel: Cancellation | None) -> None:
        """Idle servables leave until the new one fits or nothing else is in memory."""
        while True:
            with self._changed:
                used = self._used()
                if not used or used + entry.candidate.estimate_bytes <= self.budget_bytes:
                    entry.bytes = entry.candidate.estimate_bytes  # reserved
                    return
            victim = self._next_victim()
            if victim is not None:
                self._close(*victim)
                continue
            with self._changed:
                if self._used() and self._idle({}) is None:
                    self._wait(deadline, cancel, entry.candidate.id)

    def _wait(self, deadline: float, cancel: Cancellation | None, servable_id: str) -> None:
        _check(cancel)
        if not self._changed.wait(deadline - time.monotonic()):
            raise Busy(
                "there is no room in memory: servables with calls in flight fill the budget",
                reason="NO_MEMORY", servable=servable_id, used_bytes=self._used(), budget_bytes=self.budget_bytes,
            )  # fmt: skip
        _check(cancel)

    def _next_victim(self) -> tuple[_Entry[Occupies], Occupies | None] | None:
        elsewhere = self._recency()
        with self._changed:
            entry = self._idle(elsewhere)
            return None if entry is None else (entry, self._take_out(entry))

    def _idle(self, elsewhere: Mapping[str, int]) -> _Entry[Occupies] | None:
        def used_at(entry: _Entry[Occupies]) -> tuple[int, int]:
            return max(entry.used_ms, elsewhere.get(entry.candidate.id, 0)), entry.order

        idle = [one for one in self._entries.values() if one.state is State.READY and not one.active]
        return min(idle, key=used_at, default=None)

    def _take_out(self, entry: _Entry[Occupies]) -> Occupies | None:
        entry.state = State.LEAVING
        occupant, entry.occupant = entry.occupant, None
        return occupant

    def _close(self, entry: _Entry[Occupies], occupant: Occupies | None) -> None:
        """Outside the lock: giving memory back may take a while."""
        if occupant is None:
            return
        try:
            occupant.close()
        finally:
            _LOG.info("%s left memory: %d bytes", entry.candidate.id, entry.bytes)
            with self._changed:
                entry.state, entry.bytes = State.COLD, 0
                self._changed.notify_all()

    def _leave(self, entry: _Entry[Occupies]) -> None:
        with self._changed:
            entry.active -= 1
            self._touch(entry)
            closing = self._take_out(entry) if entry.withdrawn and not entry.active else None
            self._changed.notify_all()
        self._close(entry, closing)

    def _touch(self, entry: _Entry[Occupies]) -> None:
        self._ticks += 1
        entry.order, entry.used_ms = self._ticks, time.time_ns() // 1_000_000

    def _used(self) -> int:
        return sum(entry.bytes for entry in self._entries.values())


def _check(cancel: Cancellation | None) -> None:
    if cancel is not None and cancel.cancelled:
        raise Stopped("the call was cancelled", reason="CALL_CANCELLED")
