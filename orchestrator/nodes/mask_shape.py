"""Arithmetic of masks [B, H, W]. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from orchestrator.nodes.morphology import dilated
from orchestrator.nodes.shapes import need_same_batch

_LOGIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "and": torch.logical_and,
    "or": torch.logical_or,
    "xor": torch.logical_xor,
}
_ARITHMETIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "multiply": torch.mul,
    "add": torch.add,
    "subtract": torch.sub,
}


def combined(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """`source` on `destination` with its corner at (x, y), as far as it lies inside; clipped to 0..1."""
    need_same_batch(destination, source)
    batch = max(destination.shape[0], source.shape[0])
    output = destination.clamp(0.0, 1.0).repeat(batch // destination.shape[0], 1, 1)
    below = destination[:, y : y + source.shape[1], x : x + source.shape[2]]
    above = source[:, : below.shape[1], : below.shape[2]]
    if operation in _LOGIC:
        result = _LOGIC[operation](below.round().bool(), above.round().bool()).float()
    else:
        result = _ARITHMETIC[operation](below, above).clamp(0.0, 1.0)
    output[:, y : y + below.shape[1], x : x + below.shape[2]] = result
    return output


def feathered(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """The mask times ramps that rise from each side over so many pixels."""
    height, width = mask.shape[1:]
    return mask * _ramps(height, top, bottom)[:, None] * _ramps(width, left, right)


def _ramps(length: int, near: int, far: int) -> Tensor:
    near, far = min(near, length), min(far, length)
    factor = torch.ones(length)
    if near:
        factor[:near] *= torch.arange(1, near + 1) / near
    # ComfyUI counts the far side as -0, -1, -2 ...: its weakest step lands on the first pixel, not on the last.
    for step in range(far):
        factor[-step] *= (step + 1) / far
    return factor


def grown(mask: Tensor, expand: int, diamond: bool, check_cancelled: Callable[[], None]) -> Tensor:
    """Largest value within `expand` pixels (smallest for a negative one), by |dx| + |dy| or by the larger of both."""
    if expand < 0:
        return -grown(-mask, -expand, diamond, check_cancelled)
    if not diamond:
        reach = min(expand, max(mask.shape[1:]))
        return dilated(mask, 2 * reach + 1)
    for _ in range(expand):
        check_cancelled()
        larger = mask.clone()
        for axis in (1, 2):
            size = mask.shape[axis] - 1
            _raise(larger.narrow(axis, 1, size), mask.narrow(axis, 0, size))
            _raise(larger.narrow(axis, 0, size), mask.narrow(axis, 1, size))
        if torch.equal(larger, mask):
            break
        mask = larger
    return mask


def _raise(values: Tensor, others: Tensor) -> None:
    torch.maximum(values, others, out=values)
