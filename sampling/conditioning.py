"""One resolved conditioning entry, and where and when it holds on a latent of a given size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from sampling.model_sampling import ModelSampling

Area = tuple[int, int, int, int]

_MIN_SIDE: Final = 8  # smallest area that a mask's bounds give, in latent pixels
_FEATHER: Final = 8  # latent pixels over which an area fades in at its inner borders
_NO_EXTRA: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Cond:
    """One prompt with its weight, region and time.

    `cross_attn` is [1 or B, T, D]. `area` is (height, width, y, x) in latent pixels; `area_share` the same in shares of
    the latent's size (give one or none). `mask` is [h,w] or [1 or B,h,w] in any size, resized to the latent; with
    `set_area_to_bounds` the model sees only the mask's bounding box. `start_percent` to `end_percent` is the part of
    the sampling process in which the entry holds. `concat` are further input channels, [1 or B, c, h, w] in latent
    size, joined behind the scaled latent (inpainting and editing models; see `sampling.inpaint.inpaint_concat`).
    `extra` are further named inputs of the model (`y` ...): tensors [1 or B, ...] are batched, other values are
    handed on and keep entries with different values in separate calls. `pooled` is for the caller's use in making
    `y`.
    """

    cross_attn: Tensor
    pooled: Tensor | None = None
    strength: float = 1.0
    area: Area | None = None
    area_share: tuple[float, float, float, float] | None = None
    mask: Tensor | None = None
    mask_strength: float = 1.0
    set_area_to_bounds: bool = False
    start_percent: float = 0.0
    end_percent: float = 1.0
    concat: Tensor | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NO_EXTRA)


@dataclass(frozen=True, eq=False)
class Placed:
    """A `Cond` fitted to a latent size: area in latent pixels, mask in latent size, time range in sigma."""

    cond: Cond
    area: Area | None
    mask: Tensor | None  # [n, h, w]
    start_sigma: float
    end_sigma: float

    def holds_at(self, sigma: float) -> bool:
        """Whether the entry takes part at this noise level."""
        return self.end_sigma <= sigma <= self.start_sigma

    def crop(self, x: Tensor) -> Tensor:
        """The part of `x` [B,C,h,w] that this entry's area covers."""
        if self.area is None:
            return x
        height, width, top, left = _clipped(self.area, x)
        return x[..., top : top + height, left : left + width]

    def weight(self, x: Tensor) -> Tensor:
        """How much this entry counts at each place of its crop of `x`."""
        region = self.crop(x)
        if self.mask is not None:
            mask = fit_batch(self.crop(self.mask.to(x)), x.shape[0])[:, None].expand_as(region)
            return mask * (self.cond.mask_strength * self.cond.strength)
        weight = torch.full_like(region, self.cond.strength)
        return weight if self.area is None else weight * _feathering(_clipped(self.area, x), x)


def _clipped(area: Area, x: Tensor) -> Area:
    height, width, top, left = area
    return min(x.shape[-2] - top, height), min(x.shape[-1] - left, width), top, left


def _feathering(area: Area, x: Tensor) -> Tensor:
    """Linear ramps [height, width] at those borders of the area that are not borders of the latent."""
    height, width, top, left = area
    down = _ramp(height, top > 0, top + height < x.shape[-2])
    across = _ramp(width, left > 0, left + width < x.shape[-1])
    return (down[:, None] * across[None, :]).to(x)


def _ramp(length: int, at_start: bool, at_end: bool) -> Tensor:
    reach = min(_FEATHER, length // 4)
    rise = torch.arange(1, reach + 1) / max(reach, 1)
    ramp = torch.ones(length)
    if at_start:
        ramp[:reach] *= rise
    if at_end:
        ramp[length - reach :] *= rise.flip(0)
    return ramp


def fit_batch(tensor: Tensor, size: int) -> Tensor:
    """Repeat and cut along the first dimension to `size`."""
    if tensor.shape[0] == size:
        return tensor
    return tensor.repeat(-(-size // tensor.shape[0]), *(1,) * (tensor.ndim - 1))[:size]


def place(conds: Sequence[Cond], model_sampling: ModelSampling, latent_size: tuple[int, int]) -> list[Placed]:
    """Fit entries to a latent of (height, width)."""
    return [_placed(cond, model_sampling, latent_size) for cond in conds]


def _placed(cond: Cond, model_sampling: ModelSampling, latent_size: tuple[int, int]) -> Placed:
    area = cond.area
    if cond.area_share is not None:
        height, width, top, left = (
            round(share * side) for share, side in zip(cond.area_share, (*latent_size, *latent_size), strict=True)
        )
        area = max(1, height), max(1, width), top, left
    mask = None
    if cond.mask is not None:
        mask = _fitted(cond.mask, latent_size)
        if cond.set_area_to_bounds:
            area = _bounds(mask)
    return Placed(
        cond=cond,
        area=area,
        mask=mask,
        start_sigma=model_sampling.percent_to_sigma(cond.start_percent),
        end_sigma=model_sampling.percent_to_sigma(cond.end_percent),
    )


def _fitted(mask: Tensor, latent_size: tuple[int, int]) -> Tensor:
    mask = mask.reshape(-1, *mask.shape[-2:]).float()
    if mask.shape[-2:] == latent_size:
        return mask
    resized: Tensor = torch.nn.functional.interpolate(mask[:, None], size=latent_size, mode="bilinear")
    return resized[:, 0]


def _bounds(mask: Tensor) -> Area:
    """Box around everything not zero in any mask of the batch, at least 8 by 8."""
    covered = mask.abs().amax(dim=0) != 0
    if not covered.any():
        return _MIN_SIDE, _MIN_SIDE, 0, 0
    rows, columns = covered.any(dim=1).nonzero()[:, 0], covered.any(dim=0).nonzero()[:, 0]
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    return max(_MIN_SIDE, height), max(_MIN_SIDE, width), top, left


def with_opposites(groups: Sequence[Sequence[Placed]]) -> list[list[Placed]]:
    """Give every entry with an area a counterpart in each other group, so that guidance compares the same crops.

    The counterpart keeps area, mask, strength and time of the entry and takes the model inputs of the smallest entry of
    its group that covers the area.
    """
    filled = [list(group) for group in groups]
    for i, group in enumerate(filled):
        for entry in list(group):
            for k, other in enumerate(filled):
                if k != i:
                    filled[k] = [*other, *_opposite(entry, other)]
    return filled


def _opposite(entry: Placed, group: Sequence[Placed]) -> list[Placed]:
    area = entry.area
    if area is None:
        return []
    covering = [other for other in group if other.area is None or _inside(area, other.area)]
    if not covering:
        return []
    # Entries without an area count as the largest; of equals the first is taken.
    smallest = min(covering, key=lambda other: float("inf") if other.area is None else other.area[0] * other.area[1])
    if smallest.area == area:
        return []
    model_inputs = smallest.cond
    cond = replace(entry.cond, cross_attn=model_inputs.cross_attn, concat=model_inputs.concat, extra=model_inputs.extra)
    return [replace(entry, cond=cond)]


def _inside(area: Area, outer: Area) -> bool:
    height, width, top, left = area
    outer_height, outer_width, outer_top, outer_left = outer
    return (
        top >= outer_top
        and left >= outer_left
        and top + height <= outer_top + outer_height
        and left + width <= outer_left + outer_width
    )
