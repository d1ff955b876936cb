"""Inputs and calls in the stock client's terms."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ENDLESS = 1 << 50
Answers = queue.Queue[tuple[Any, InferenceServerException | None]]
_ATTEMPTS = 20


def tensor(name: str, values: np.ndarray, datatype: str | None = None) -> triton_grpc.InferInput:
    given = triton_grpc.InferInput(name, list(values.shape), datatype or np_to_triton_dtype(values.dtype))
    given.set_data_from_numpy(values)
    return given


def images(batch: int = 2, height: int = 3, width: int = 5) -> np.ndarray:
    return np.random.default_rng(batch).standard_normal((batch, 4, height, width), dtype=np.float32)


def affine_inputs(x: np.ndarray) -> list[triton_grpc.InferInput]:
    return [tensor("x", x), tensor("ids", np.arange(len(x)))]


def rounds(n: int) -> list[triton_grpc.InferInput]:
    return [tensor("n", np.array([n])), tensor("x", np.ones((64, 64), np.float32))]


def begin(client: triton_grpc.InferenceServerClient, model: str, n: int) -> tuple[Any, Answers]:
    """A call of the slow model that is certainly running: another one cannot get its turn."""
    for _ in range(_ATTEMPTS):
        answers: Answers = queue.Queue()
        call = client.async_infer(model, rounds(n), lambda result, error, to=answers: to.put((result, error)))
        try:
            client.infer(model, rounds(1), client_timeout=0.3)
        except InferenceServerException as error:
            assert error.status() == "StatusCode.DEADLINE_EXCEEDED"
            return call, answers
        call.cancel()
        answers.get(timeout=30)
    raise AssertionError("the call never ran")


@contextmanager
def refused(*codes: str) -> Iterator[None]:
    """The block ends with one of these statuses."""
    with pytest.raises(InferenceServerException) as caught:
        yield
    assert caught.value.status() in [f"StatusCode.{code}" for code in codes], caught.value
