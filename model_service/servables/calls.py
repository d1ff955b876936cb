"""Calls to servables in memory: one at a time per processor, counted, stopped when their client goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy.typing as npt

from kit.errors import Busy, Stopped
from model_service.runtime.engine import Cancellation
from model_service.servables.residency import Occupant, Residency
from model_service.servables.statistics import CallTimes, Statistics

Array = npt.NDArray[Any]
T = TypeVar("T")


class Runnable(Occupant, Protocol):
    """What a servable of the embedded engine is once it is in memory (runtime.engine.LoadedModel)."""

    def infer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, cancel: Cancellation | None = None
    ) -> dict[str, Array]:
        """As runtime.engine.LoadedModel."""


@dataclass(frozen=True)
class Work(Generic[T]):
    """One call: which servable, how its inputs come about, which outputs, and what becomes of them.

    `batch`: items in it, for the counts.
    """

    servable: str
    decode: Callable[[], Mapping[str, Array]]
    outputs: Sequence[str]
    encode: Callable[[Mapping[str, Array]], T]
    batch: int = 1


class Lane:
    """Lets `width` calls run at once: more would share the same cores and take memory several times."""

    def __init__(self, width: int) -> None:
        self._free = width
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, cancel: Cancellation) -> Iterator[None]:
        """Waits for a place; raises Stopped where the call is cancelled meanwhile (see `wake`)."""
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or cancel.cancelled)
            if cancel.cancelled:
                raise Stopped("the call was cancelled", reason="CALL_CANCELLED")
            self._free -= 1
        try:
            yield
        finally:
            with self._changed:
                self._free += 1
                self._changed.notify_all()

    def wake(self) -> None:
        """Let waiting calls look whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()


class Calls:
    """Runs calls on the servables of `residency`."""

    def __init__(self, residency: Residency[Runnable], lane: Lane, statistics: Statistics) -> None:
        self.residency = residency
        self.statistics = statistics
        self._lane = lane

    def run(self, work: Work[T], cancel: Cancellation) -> T:
        """Raises as `Residency.lease`, InvalidRequest, Stopped, Busy (NO_MEMORY)."""
        start = time.perf_counter_ns()
        try:
            answer, times = self._run_freeing(work, cancel)
        except BaseException:
            self.statistics.failed(work.servable, time.perf_counter_ns() - start)
            raise
        self.statistics.succeeded(work.servable, work.batch, times)
        return answer

    def stop(self, cancel: Cancellation) -> None:
        """End the calls under this token, running or waiting."""
        cancel.cancel()
        self._lane.wake()
        self.residency.wake()

    def _run_freeing(self, work: Work[T], cancel: Cancellation) -> tuple[T, CallTimes]:
        """Where memory is short, once more without the servables that nobody uses now."""
        try:
            return self._run(work, cancel)
        except Busy as error:
            if error.reason != "NO_MEMORY" or not self.residency.release_idle():
                raise
        try:
            return self._run(work, cancel)
        except Busy as error:
            if error.reason == "NO_MEMORY":
                self.residency.evict(work.servable)  # an engine keeps what it took before it failed
            raise

    def _run(self, work: Work[T], cancel: Cancellation) -> tuple[T, CallTimes]:
        start = time.perf_counter_ns()
        with self.residency.lease(work.servable, cancel) as network:
            leased = time.perf_counter_ns()
            inputs = work.decode()
            decoded = time.perf_counter_ns()
            with self._lane.turn(cancel):
                begun = time.perf_counter_ns()
                results = network.infer(inputs, work.outputs, cancel)
                done = time.perf_counter_ns()
            answer = work.encode(results)
        ended = time.perf_counter_ns()
        return answer, CallTimes(leased - start + begun - decoded, decoded - leased, done - begun, ended - done)
