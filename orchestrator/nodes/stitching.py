"""Pictures [B, H, W, C] side by side, and with borders. Imports torch: only node functions import it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from orchestrator.nodes.resize import resized
from orchestrator.nodes.shapes import with_channels_of

_ROWS, _COLUMNS = 1, 2
_COLOURS = {
    "white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0),
    "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0),
}  # fmt: skip
_GREY = 0.5


def stitched(first: Tensor, second: Tensor, direction: str, match: bool, spacing: int, colour: str) -> Tensor:
    """`second` on that side of `first`. `match` scales it (Lanczos); otherwise the smaller gets borders."""
    batch = max(first.shape[0], second.shape[0])
    first, second = _as_many(first, batch), _as_many(second, batch)
    along, across = (_COLUMNS, _ROWS) if direction in ("left", "right") else (_ROWS, _COLUMNS)
    if match:
        second = _matched(second, first.shape[across], across)
    else:
        side = max(first.shape[across], second.shape[across])
        border = 1.0 if colour == "white" else 0.0  # only the gap itself is coloured
        first, second = (_centred(picture, side, across, border) for picture in (first, second))
    channels = max((first, second), key=lambda picture: picture.shape[-1])
    first, second = with_channels_of(channels, first), with_channels_of(channels, second)
    parts = [second, first] if direction in ("left", "up") else [first, second]
    if spacing:
        parts.insert(1, _gap(first, along, spacing + spacing % 2, colour))
    return torch.cat(parts, dim=along)


def _as_many(picture: Tensor, batch: int) -> Tensor:
    last = picture[-1:].expand(batch - picture.shape[0], -1, -1, -1)
    return torch.cat((picture, last)) if len(last) else picture


def _matched(picture: Tensor, side: int, axis: int) -> Tensor:
    aspect = picture.shape[_COLUMNS] / picture.shape[_ROWS]
    width, height = (int(side * aspect), side) if axis == _ROWS else (side, int(side / aspect))
    return resized(picture.movedim(-1, 1), max(1, width), max(1, height), "lanczos").movedim(1, -1)


def _centred(picture: Tensor, side: int, axis: int, value: float) -> Tensor:
    missing = side - picture.shape[axis]
    borders = (missing // 2, missing - missing // 2)
    return pad(picture, (0, 0, *borders) if axis == _COLUMNS else (0, 0, 0, 0, *borders), value=value)


def _gap(picture: Tensor, axis: int, width: int, colour: str) -> Tensor:
    """Opaque, between pictures like `picture`."""
    shape = list(picture.shape)
    shape[axis] = width
    values = torch.tensor((*_COLOURS[colour], 1.0))[: shape[-1]]
    return values.expand(shape)


def padded(image: Tensor, left: int, top: int, right: int, bottom: int, feathering: int) -> tuple[Tensor, Tensor]:
    """The picture with grey borders, and the mask [1, H, W]: 1 on them, falling as a square into the picture."""
    height, width = image.shape[1:3]
    mask = torch.zeros(height, width)
    if 0 < 2 * feathering < min(height, width):
        rows = _distance(height, top, bottom, beyond=height)
        columns = _distance(width, left, right, beyond=width)
        distance = torch.minimum(rows[:, None], columns)
        mask = ((feathering - distance) / feathering).clamp(min=0) ** 2
    borders = (left, right, top, bottom)
    return pad(image, (0, 0, *borders), value=_GREY), pad(mask, borders, value=1.0)[None]


def _distance(length: int, near: int, far: int, beyond: int) -> Tensor:
    """Steps to the nearest side that has a border (0 on its first line, counted from 1 on the far one)."""
    steps = torch.arange(length, dtype=torch.float32)
    none = torch.full((length,), float(beyond))
    return torch.minimum(steps if near else none, length - steps if far else none)
