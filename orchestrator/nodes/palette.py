"""Pictures in few colours. Imports torch: only node functions import it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

_LEVELS = 256


def quantized(picture: Tensor, colours: int, dither: str) -> Tensor:
    """`picture` [H, W, 3] in its own `colours` (Pillow's median cut); `dither` none, floyd-steinberg or bayer-N."""
    levels = (picture * 255.0).clamp(0, 255).to(torch.uint8).numpy()
    plain = Image.fromarray(levels)
    palette = plain.quantize(colors=colours)
    if dither == "floyd-steinberg":
        found = plain.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    else:
        if dither != "none":
            plain = Image.fromarray(_ordered(levels, int(dither.removeprefix("bayer-")), _found(palette)))
        found = plain.quantize(palette=palette, dither=Image.Dither.NONE)
    return torch.from_numpy(np.array(found.convert("RGB"), dtype=np.float32) / 255.0)


def _found(palette: Image.Image) -> int:
    """Colours in the palette: fewer than asked for if the picture has fewer."""
    return max(1, len(palette.getpalette() or ()) // 3)


def _ordered(levels: npt.NDArray[np.uint8], order: int, colours: int) -> npt.NDArray[np.uint8]:
    """Bayer's threshold matrix (1973) on 0..255, as wide as two steps of an even palette."""
    height, width = levels.shape[:2]
    pattern = _bayer(order) * (2 * _LEVELS / colours) + 0.5
    tiled = np.tile(pattern, (math.ceil(height / order), math.ceil(width / order)))[:height, :width, None]
    return (levels + tiled).clip(0, 255).astype(np.uint8)


def _bayer(order: int) -> npt.NDArray[np.float64]:
    """`order` x `order` (a power of two) equal steps around zero."""
    matrix = np.zeros((1, 1))
    share = 1.0
    while len(matrix) < order:
        share /= 4
        matrix = np.block([[matrix - 1.5 * share, matrix + 0.5 * share], [matrix + 1.5 * share, matrix - 0.5 * share]])
    return matrix
