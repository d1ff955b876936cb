"""Calls that run for long: a client that goes away ends them, unloading waits for them."""

from __future__ import annotations

import queue
import time
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException

from tests.contract.kserve.calls import ENDLESS, refused, rounds
from tests.contract.kserve.conftest import Bench

Answers = queue.Queue[tuple[Any, InferenceServerException | None]]
_ATTEMPTS = 20


def _begin(bench: Bench, model: str, n: int) -> tuple[Any, Answers]:
    """A call that is certainly running: another one cannot get its turn."""
    for _ in range(_ATTEMPTS):
        answers: Answers = queue.Queue()
        call = bench.client.async_infer(model, rounds(n), lambda result, error, to=answers: to.put((result, error)))
        try:
            bench.client.infer(model, rounds(1), client_timeout=0.3)
        except InferenceServerException as error:
            assert error.status() == "StatusCode.DEADLINE_EXCEEDED"
            return call, answers
        call.cancel()
        answers.get(timeout=30)
    raise AssertionError("the call never ran")


def test_a_cancelled_call_ends(bench: Bench, slow: str) -> None:
    call, answers = _begin(bench, slow, ENDLESS)
    call.cancel()
    _, error = answers.get(timeout=30)
    assert error is not None
    assert error.status() == "StatusCode.CANCELLED"
    np.testing.assert_allclose(bench.client.infer(slow, rounds(1), client_timeout=30).as_numpy("out"), 1.5)


def test_a_call_past_its_deadline_ends(bench: Bench, slow: str) -> None:
    with refused("DEADLINE_EXCEEDED"):
        bench.client.infer(slow, rounds(ENDLESS), client_timeout=0.5)
    np.testing.assert_allclose(bench.client.infer(slow, rounds(1), client_timeout=30).as_numpy("out"), 1.5)


def test_unloading_lets_a_running_call_end(bench: Bench, slow: str) -> None:
    _, answers = _begin(bench, slow, _rounds_of_seconds(bench, slow, 3.0))
    bench.client.unload_model(slow)
    with refused("NOT_FOUND", "UNAVAILABLE"):
        bench.client.infer(slow, rounds(1), client_timeout=30)
    assert answers.empty()
    result, error = answers.get(timeout=50)
    assert error is None
    np.testing.assert_allclose(result.as_numpy("out"), 2.0)
    _load_again(bench, slow)
    np.testing.assert_allclose(bench.client.infer(slow, rounds(1)).as_numpy("out"), 1.5)


def _rounds_of_seconds(bench: Bench, model: str, seconds: float) -> int:
    n = 20_000
    start = time.perf_counter()
    bench.client.infer(model, rounds(n))
    return int(n * seconds / (time.perf_counter() - start))


def _load_again(bench: Bench, model: str) -> None:
    bench.client.load_model(model)
    assert bench.client.is_model_ready(model)
