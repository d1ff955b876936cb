"""Weights to float32: numpy converts float16 one element at a time, this with whole-array integer operations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

# Sign, and exponent and fraction of a float16 moved to where float32 has them.
_KEPT_BITS = np.array(0x8FFFE000, np.uint32).view(np.int32)[()]
# The exponents' biases differ by 127 - 15; a multiplication corrects them, subnormal numbers included.
_REBIAS = np.float32(2.0**112)
_BEYOND = 65536.0


def widen(array: npt.NDArray[Any], out: npt.NDArray[np.float32]) -> None:
    """Write `array` (any float type, the shape of `out`) into `out`, exactly; fastest on pieces of about a megabyte."""
    if array.dtype != np.float16:
        out[...] = array
        return
    bits = out.view(np.int32)
    bits[...] = array.view(np.int16)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, _KEPT_BITS, out=bits)
    np.multiply(out, _REBIAS, out=out)
    # Infinity and NaN have come out as numbers that no float16 can hold.
    if out.size and (out.max() >= _BEYOND or out.min() <= -_BEYOND):
        out[...] = array
