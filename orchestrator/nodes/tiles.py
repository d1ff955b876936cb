"""A function on [1, C, H, W] applied tile by tile and blended with feathered edges."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kit.errors import InvalidRequest

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Tiling:
    """Tile size and overlap in input pixels; `scale` is output size over input size (8 or 1/8)."""

    width: int
    height: int
    overlap: int
    scale: float

    def steps(self, samples: Tensor) -> int:
        """How many tiles a batch [B, C, H, W] needs."""
        rows, columns = self._starts(samples)
        return samples.shape[0] * len(rows) * len(columns)

    def _starts(self, samples: Tensor) -> tuple[Sequence[int], Sequence[int]]:
        height, width = samples.shape[-2:]
        return self._axis(height, self.height), self._axis(width, self.width)

    def _axis(self, length: int, tile: int) -> Sequence[int]:
        if length <= tile:
            return (0,)
        if tile <= self.overlap:
            raise InvalidRequest(
                "the overlap is as large as the narrowest tile, which is half of tile_size: choose less overlap",
                tile_size=2 * tile,
                overlap=self.overlap,
            )
        return range(0, length - self.overlap, tile - self.overlap)

    def boxes(self, samples: Tensor) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of every tile, top left first; the last ones may be smaller."""
        height, width = samples.shape[-2:]
        rows, columns = self._starts(samples)
        for top in rows:
            for left in columns:
                yield slice(top, min(top + self.height, height)), slice(left, min(left + self.width, width))


def three_shapes(tile: int, overlap: int, scale: float) -> tuple[Tiling, Tiling, Tiling]:
    """Tall, wide and square tiles: the mean of the three hides the seams of each."""
    return (
        Tiling(tile // 2, tile * 2, overlap, scale),
        Tiling(tile * 2, tile // 2, overlap, scale),
        Tiling(tile, tile, overlap, scale),
    )


def tiled(samples: Tensor, function: Function, tiling: Tiling, step: Callable[[], None]) -> Tensor:
    """`function` over all tiles of `samples` [B, C, H, W], weighted by linear ramps of the overlap's width."""
    return torch.cat([_tiled_one(sample[None], function, tiling, step) for sample in samples])


def _tiled_one(sample: Tensor, function: Function, tiling: Tiling, step: Callable[[], None]) -> Tensor:
    height, width = sample.shape[-2:]
    total: Tensor | None = None
    weights = torch.zeros(round(height * tiling.scale), round(width * tiling.scale))
    for rows, columns in tiling.boxes(sample):
        result = function(sample[..., rows, columns])
        if result.shape[-2:] == weights.shape:
            step()
            return result
        if total is None:
            total = result.new_zeros(1, result.shape[1], *weights.shape)
        top, left = round(rows.start * tiling.scale), round(columns.start * tiling.scale)
        window = _window(result, round(tiling.overlap * tiling.scale))
        box = (..., slice(top, top + result.shape[-2]), slice(left, left + result.shape[-1]))
        total[box] += result * window
        weights[box] += window
        step()
    assert total is not None  # every input has at least one tile
    return total / weights


def _window(result: Tensor, feather: int) -> Tensor:
    """Weights [h, w]: ramps 1/n ... n/n at both ends of an axis that is longer than the ramp, else flat."""
    vertical, horizontal = (_ramp(length, feather) for length in result.shape[-2:])
    return vertical[:, None] * horizontal[None, :]


def _ramp(length: int, feather: int) -> Tensor:
    if feather >= length:
        return torch.ones(length)
    index = torch.arange(length, dtype=torch.float32)
    rising = ((index + 1) / feather).clamp(max=1) if feather else torch.ones(length)
    return rising * rising.flip(0)
