"""Inputs and calls in the stock client's terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ENDLESS = 1 << 50


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


@contextmanager
def refused(*codes: str) -> Iterator[None]:
    """The block ends with one of these statuses."""
    with pytest.raises(InferenceServerException) as caught:
        yield
    assert caught.value.status() in [f"StatusCode.{code}" for code in codes], caught.value
