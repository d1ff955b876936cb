"""One latent laid over another. Imports torch: only node functions import it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.nodes.latent_fit import fitting
from sampling.conditioning import fit_batch


def laid_over(below: Tensor, above: Tensor, place: tuple[int, int], feather: int) -> Tensor:
    """`above` on `below` at (x, y) cells, with ramps of `feather` cells at its edges that are inside `below`.

    Raises InvalidRequest (LATENT_SHAPE).
    """
    (x, y), (height, width) = place, above.shape[2:4]
    rows, columns = below.shape[2:4]
    region = (slice(None), slice(None), slice(y, y + height), slice(x, x + width))
    with fitting(below, above):
        cut = above[:, :, : rows - y, : columns - x]
        result = below.clone()
        if feather:
            down = _ramps(cut.shape[2], feather, y != 0, y + cut.shape[2] < rows)
            across = _ramps(cut.shape[3], feather, x != 0, x + cut.shape[3] < columns)
            mask = down[:, None] * across  # h w
            cut = cut * mask + result[region] * (1.0 - mask)
        result[region] = cut
    return result


def _ramps(length: int, feather: int, at_start: bool, at_end: bool) -> Tensor:
    """Weights [length], rising over `feather` cells at the start, falling at the end."""
    weights = torch.ones(length)
    for step in range(feather):
        share = (step + 1) / feather
        # Slices, not indices: a ramp longer than the latent wraps around at its end, as ComfyUI's does.
        if at_start:
            weights[step : step + 1] *= share
        if at_end:
            weights[length - 1 - step : length - step] *= share
    return weights


def masked_over(below: Tensor, above: Tensor, place: tuple[int, int], mask: Tensor | None, resize: bool) -> Tensor:
    """`above` on `below` at (x, y) cells where `mask` (any size, over all of `above`) is 1.

    Raises InvalidRequest (LATENT_SHAPE).
    """
    with fitting(below, above):
        if resize:
            above = functional.interpolate(above, size=tuple(below.shape[2:4]), mode="bilinear")
        above = fit_batch(above, below.shape[0])
        x, y = min(place[0], below.shape[3]), min(place[1], below.shape[2])
        share = torch.ones_like(above) if mask is None else _stretched(mask, above)
        height, width = below.shape[2] - y, below.shape[3] - x
        share, above = share[..., :height, :width], above[..., :height, :width]
        region = (..., slice(y, y + above.shape[2]), slice(x, x + above.shape[3]))
        result = below.clone()
        result[region] = share * above + (1.0 - share) * below[region]
    return result


def _stretched(mask: Tensor, over: Tensor) -> Tensor:
    """The mask [B, 1, h, w] for a latent."""
    planes = mask.reshape(-1, 1, *mask.shape[-2:])
    return fit_batch(functional.interpolate(planes, size=tuple(over.shape[2:4]), mode="bilinear"), over.shape[0])
