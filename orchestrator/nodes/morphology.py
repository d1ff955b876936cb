"""Flat grey-scale morphology with square windows (Serra 1982). Imports torch: only node functions import it.

What lies outside the picture does not count. The last two axes are rows and columns. An erosion's window of an even
size begins half its size before the pixel; a dilation's is that window turned around, as Minkowski's sum has it.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

_NOTHING = float("-inf")


def dilated(values: Tensor, size: int) -> Tensor:
    """The largest value in a window of `size` x `size`."""
    return _largest(values, size, before=size - size // 2 - 1)


def eroded(values: Tensor, size: int) -> Tensor:
    """The smallest value in a window of `size` x `size`."""
    return -_largest(-values, size, before=size // 2)


def morphed(values: Tensor, operation: str, size: int) -> Tensor:
    """erode, dilate, open, close, gradient, top_hat or bottom_hat."""
    match operation:
        case "erode":
            return eroded(values, size)
        case "dilate":
            return dilated(values, size)
        case "gradient":
            return dilated(values, size) - eroded(values, size)
        case "open":
            return dilated(eroded(values, size), size)
        case "close":
            return eroded(dilated(values, size), size)
        case "top_hat":
            return values - dilated(eroded(values, size), size)
        case _:
            return eroded(dilated(values, size), size) - values


def _largest(values: Tensor, size: int, before: int) -> Tensor:
    return _running_max(_running_max(values, size, before).transpose(-1, -2), size, before).transpose(-1, -2)


def _running_max(values: Tensor, size: int, before: int) -> Tensor:
    """Along the last axis, over `size` values of which `before` come before each.

    A window of 2n is the larger of two of n, so the work grows with the logarithm of the size.
    """
    length = values.shape[-1]
    found = pad(values, (before, size - before - 1), value=_NOTHING)
    reach = 1
    while reach * 2 <= size:
        found = found[..., :-reach].maximum(found[..., reach:])
        reach *= 2
    rest = size - reach
    return found[..., :length].maximum(found[..., rest : rest + length])
