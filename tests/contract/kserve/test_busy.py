"""Calls that run for long: a client that goes away ends them, unloading waits for them."""

from __future__ import annotations

import time

import numpy as np

from tests.contract.kserve.calls import ENDLESS, begin, refused, rounds
from tests.contract.kserve.conftest import Bench


def test_a_cancelled_call_ends(bench: Bench, slow: str) -> None:
    call, answers = begin(bench.client, slow, ENDLESS)
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
    _, answers = begin(bench.client, slow, _rounds_of_seconds(bench, slow, 3.0))
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
