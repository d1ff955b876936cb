"""Laying one picture [B, H, W, C] on another. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from orchestrator.nodes.resize import resized
from orchestrator.nodes.shapes import repeated


def at_size_of(model: Tensor, picture: Tensor) -> Tensor:
    """`picture` at the size of `model`: bicubic, cut around the centre to its aspect ratio."""
    if picture.shape[1:3] == model.shape[1:3]:
        return picture
    return resized(picture.movedim(-1, 1), model.shape[2], model.shape[1], "bicubic", "center").movedim(1, -1)


def pasted(destination: Tensor, source: Tensor, x: int, y: int, resize: bool, mask: Tensor | None) -> Tensor:
    """`source` on `destination` at (x, y), weighted by `mask` [B, h, w], which is stretched over all of the source."""
    height, width = destination.shape[1:3]
    if resize:
        source = resized(source.movedim(-1, 1), width, height, "bilinear").movedim(1, -1)
    batch = destination.shape[0]
    output = destination.clone()
    below = output[:, y : y + source.shape[1], x : x + source.shape[2]]  # a view
    rows, columns = below.shape[1:3]
    above = repeated(source, batch)[:, :rows, :columns]
    if mask is None:
        below.copy_(above)
        return output
    weights = resized(mask.reshape(-1, 1, *mask.shape[-2:]), source.shape[2], source.shape[1], "bilinear")
    weights = repeated(weights, batch).movedim(1, -1)[:, :rows, :columns]  # B H W 1
    below.copy_(weights * above + (1.0 - weights) * below)
    return output


def _overlay(below: Tensor, above: Tensor) -> Tensor:
    return torch.where(below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above))


def _soft_light(below: Tensor, above: Tensor) -> Tensor:
    """W3C Compositing and Blending, 10.1.9."""
    root = torch.where(below <= 0.25, ((16 * below - 12) * below + 4) * below, below.clamp(min=0).sqrt())
    darker = below - (1 - 2 * above) * below * (1 - below)
    return torch.where(above <= 0.5, darker, below + (2 * above - 1) * (root - below))


_BLENDS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "normal": lambda below, above: above,
        "multiply": torch.mul,
        "screen": lambda below, above: 1 - (1 - below) * (1 - above),
        "overlay": _overlay,
        "soft_light": _soft_light,
        "difference": torch.sub,  # signed: what is brighter above turns black
    }
)


def blended(below: Tensor, above: Tensor, factor: float, mode: str) -> Tensor:
    """`below` mixed with the blend of both, by `factor`; clipped to 0..1."""
    blend = _BLENDS[mode](below, at_size_of(below, above))
    return (below * (1 - factor) + blend * factor).clamp(0, 1)
