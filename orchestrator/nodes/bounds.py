"""How much a prompt may ask for: numbers and links come from strangers, and memory is everybody's."""

from __future__ import annotations

from math import prod

from kit.errors import InvalidRequest

MAX_ELEMENTS = 2**30
"""Numbers in one tensor: 4 GiB of float32."""
MAX_SAMPLE_RATE = 768_000
"""Samples of sound a second."""
MAX_TEXT = 2**24
"""Characters in one text."""


def bounded(*shape: int) -> tuple[int, ...]:
    """The shape of a tensor to be made. Raises InvalidRequest (TENSOR_SIZE) if it has more than MAX_ELEMENTS."""
    if prod(shape) > MAX_ELEMENTS:
        raise InvalidRequest(
            "this would be too large: ask for smaller sides, a smaller batch or less time", reason="TENSOR_SIZE",
            shape=list(shape), limit=MAX_ELEMENTS,
        )  # fmt: skip
    return shape


def bounded_text(length: int) -> int:
    """The length of a text to be made. Raises InvalidRequest (TEXT_SIZE) if it is over MAX_TEXT."""
    if length > MAX_TEXT:
        raise InvalidRequest(
            "this text would be too long: join or replace less", reason="TEXT_SIZE", length=length, limit=MAX_TEXT
        )
    return length
