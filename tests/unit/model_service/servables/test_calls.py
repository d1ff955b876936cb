"""One call at a time, counted; memory that nobody uses goes before a call fails for want of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kit.errors import Busy, InvalidRequest, Stopped
from model_service.archs.spec import Signature
from model_service.runtime.engine import Cancellation
from model_service.servables.calls import Calls, Lane, Runnable, Work
from model_service.servables.residency import Candidate, Residency
from model_service.servables.statistics import Statistics


class Echo:
    """Gives back its inputs; fails as often as `failures` says."""

    memory_bytes, mapped_bytes = 10, 0

    def __init__(self, failures: list[Exception]) -> None:
        self._failures = failures

    def infer(
        self, inputs: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None, cancel: Cancellation | None = None
    ) -> dict[str, np.ndarray]:
        if self._failures:
            raise self._failures.pop(0)
        return dict(inputs)

    def close(self) -> None:
        pass


def _calls(*failures: Exception) -> Calls:
    residency: Residency[Runnable] = Residency(100)
    left = list(failures)
    for name in ("one", "other"):
        residency.admit(Candidate(name, "echo", name, Signature((), ()), 10, lambda: Echo(left)))
    return Calls(residency, Lane(1), Statistics())


def _work(batch: int = 1) -> Work[float]:
    return Work("one", lambda: {"x": np.ones(3)}, ["x"], lambda arrays: float(arrays["x"].sum()), batch)


def test_answers_and_counts() -> None:
    calls = _calls()
    assert calls.run(_work(batch=4), Cancellation()) == 3.0
    counts = calls.statistics.of("one")
    assert (counts.inferences, counts.executions, counts.success.count, counts.fail.count) == (4, 1, 1, 0)
    parts = (counts.queue, counts.compute_input, counts.compute_infer, counts.compute_output)
    assert all(part.count == 1 for part in parts)
    assert counts.success.ns == sum(part.ns for part in parts)


def test_failures_are_counted() -> None:
    calls = _calls(InvalidRequest("wrong"))
    with pytest.raises(InvalidRequest):
        calls.run(_work(), Cancellation())
    counts = calls.statistics.of("one")
    assert (counts.executions, counts.success.count, counts.fail.count) == (0, 0, 1)


def test_memory_that_nobody_uses_is_given_up_first() -> None:
    calls = _calls(Busy("full", reason="NO_MEMORY"))
    calls.residency.load("other")
    assert calls.run(_work(), Cancellation()) == 3.0
    assert {one.id: one.bytes for one in calls.residency.all()} == {"one": 10, "other": 0}


def test_without_anything_to_give_up_it_is_busy() -> None:
    full = Busy("full", reason="NO_MEMORY")
    calls = _calls(full, full, full)
    with pytest.raises(Busy):
        calls.run(_work(), Cancellation())


def test_a_cancelled_call_stops_waiting_for_its_turn() -> None:
    lane, cancel = Lane(1), Cancellation()

    def wait() -> None:
        with lane.turn(cancel):
            raise AssertionError("it was not its turn")

    with ThreadPoolExecutor(1) as pool, lane.turn(Cancellation()):
        waiting = pool.submit(wait)
        cancel.cancel()
        lane.wake()
        with pytest.raises(Stopped):
            waiting.result(5)
    with lane.turn(Cancellation()):
        pass
