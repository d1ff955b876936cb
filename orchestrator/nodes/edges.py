"""Canny's edge detector (1986). Imports torch: only node functions import it."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from orchestrator.nodes.gauss import convolved

SMALLEST_SIDE = 3
_RADIUS = 2
_EPSILON = 1e-6
_FLAT = float(torch.tensor(_EPSILON).sqrt())
_EVERY_NEIGHBOUR = np.ones((3, 3))
# (dy, dx) of the neighbour in direction 0 .. 7, from +x towards +y in steps of 45 degrees.
_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_RIGHT, _DOWN = 0, 2


def edges(image: Tensor, low: float, high: float) -> Tensor:
    """1 on edges, else 0, [B, H, W]; thresholds on the Sobel gradient of the picture blurred with sigma 1."""
    magnitude, direction = _gradient(image)
    ridge = magnitude * largest_along(magnitude, direction)
    return torch.stack([_tracked(picture, low, high) for picture in ridge])


def _gradient(image: Tensor) -> tuple[Tensor, Tensor]:
    """Length and direction (in eighths of a turn), [B, H, W]."""
    grey = image[..., 0]
    if image.shape[-1] == 3:
        grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
    weights = (-(torch.arange(-_RADIUS, _RADIUS + 1.0) ** 2) / 2).exp()
    smooth = convolved(grey[:, None], weights / weights.sum())
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    framed = functional.pad(smooth, (1, 1, 1, 1), "replicate")
    x, y = functional.conv2d(framed, torch.stack((sobel, sobel.T))[:, None]).unbind(1)
    return (x * x + y * y + _EPSILON).sqrt(), (torch.atan2(y, x) * (4 / math.pi)).round().long()


def largest_along(magnitude: Tensor, direction: Tensor) -> Tensor:
    """Whether each pixel exceeds both neighbours along its gradient; outside everything is flat.

    Of two equal ones across a vertical or horizontal edge the left or upper one is taken.
    """
    height, width = magnitude.shape[1:]
    framed = functional.pad(magnitude, (1, 1, 1, 1), value=_FLAT)
    window = torch.stack([framed[:, 1 + dy :, 1 + dx :][:, :height, :width] for dy, dx in _DIRECTIONS], dim=1)
    largest = torch.ones_like(magnitude, dtype=torch.bool)
    for turn in (direction % 8, (direction + 4) % 8):
        neighbour = window.gather(1, turn[:, None])[:, 0]
        may_equal = (turn == _RIGHT) | (turn == _DOWN)
        largest &= (magnitude > neighbour) | (may_equal & (magnitude == neighbour))
    return largest


def _tracked(ridge: Tensor, low: float, high: float) -> Tensor:
    """Weak pixels stay if any chain of weak neighbours leads to a strong one."""
    labels, count = ndimage.label((ridge > low).numpy(), structure=_EVERY_NEIGHBOUR)
    kept = np.zeros(count + 1, dtype=np.float32)
    kept[labels[(ridge > high).numpy()]] = 1.0
    return torch.from_numpy(kept[labels])
