"""What LATENT_OPERATION values do to a latent [B, C, h, w]. Imports torch: only node functions import it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kit.errors import InvalidRequest
from orchestrator.values.latent_operation import LatentOperation, Sharpen, Tonemap

_STRENGTH = 10.0
"""How much stronger than `alpha` the sharpening kernel is."""
_WHITE_DEVIATIONS = 5


def applied(operation: LatentOperation, latent: Tensor) -> Tensor:
    """The changed latent. Raises InvalidRequest (LATENT_SHAPE)."""
    if latent.ndim != 4:
        raise InvalidRequest(
            "this operation takes latents of pictures", reason="LATENT_SHAPE", shape=list(latent.shape)
        )
    if isinstance(operation, Tonemap):
        return _tonemapped(operation, latent)
    return _sharpened(operation, latent)


def _tonemapped(operation: Tonemap, latent: Tensor) -> Tensor:
    """Reinhard et al. (2002), eq. 3, on the lengths of channel vectors."""
    length = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + 1e-10
    everywhere = (1, 2, 3)
    white = length.std(dim=everywhere, keepdim=True) * _WHITE_DEVIATIONS + length.mean(dim=everywhere, keepdim=True)
    white = white * operation.multiplier
    share = length * (1.0 / white)
    mapped: Tensor = latent / length * (share / (share + 1.0) * white)
    return mapped


def _sharpened(operation: Sharpen, latent: Tensor) -> Tensor:
    """A Gaussian's negative with a peak that makes the kernel's sum 1, on directions; lengths stay."""
    radius, channels = operation.radius, latent.shape[1]
    if radius >= min(latent.shape[-2:]):
        raise InvalidRequest(
            "the radius must be smaller than the latent's sides", reason="SHARPEN_RADIUS", radius=radius,
            shape=list(latent.shape),
        )  # fmt: skip
    kernel = _gaussian(2 * radius + 1, operation.sigma) * (operation.alpha * -_STRENGTH)
    kernel[radius, radius] += 1.0 - kernel.sum()
    length = torch.linalg.vector_norm(latent, dim=1, keepdim=True) + 1e-6
    padded = functional.pad(latent / length, (radius,) * 4, mode="reflect")
    sharpened: Tensor = length * functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)
    return sharpened


def _gaussian(side: int, sigma: float) -> Tensor:
    """[side, side] over -1..1, of sum 1."""
    axis = torch.linspace(-1, 1, side)
    bell = torch.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * sigma**2))
    return bell / bell.sum()
