"""Gaussian blur of pictures. Imports torch: only node functions import it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kit.errors import InvalidRequest


def blurred(image: Tensor, radius: int, sigma: float) -> Tensor:
    """`image` [B, H, W, C] under a window of 2 * radius + 1 that is mirrored at the borders; sigma in radii.

    Raises InvalidRequest (PICTURE_SIZE) if the picture is not larger than the radius.
    """
    if min(image.shape[1:3]) <= radius:
        raise InvalidRequest(
            "the radius must be less than the sides of the picture", reason="PICTURE_SIZE",
            radius=radius, width=image.shape[2], height=image.shape[1],
        )  # fmt: skip
    weights = (-(torch.linspace(-1, 1, 2 * radius + 1) ** 2) / (2 * sigma**2)).exp()
    return convolved(image.movedim(-1, 1), weights / weights.sum()).movedim(1, -1)


def convolved(planes: Tensor, weights: Tensor) -> Tensor:
    """`planes` [B, C, H, W] under `weights` along rows and columns, mirrored at the borders."""
    radius = len(weights) // 2
    single = planes.reshape(-1, 1, *planes.shape[-2:])
    wide = functional.pad(single, (radius, radius, radius, radius), "reflect")
    across = functional.conv2d(wide, weights.view(1, 1, 1, -1))
    return functional.conv2d(across, weights.view(1, 1, -1, 1)).reshape(planes.shape)
