"""LATENT_OPERATION: what is to be done with a latent, as a value; the code is in `nodes/latent_filters.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tonemap:
    """Compresses the lengths of channel vectors; `multiplier` scales the length that is called white."""

    multiplier: float


@dataclass(frozen=True)
class Sharpen:
    """Sharpens the directions of channel vectors; `radius` in cells, `sigma` in radii, `alpha` the strength."""

    radius: int
    sigma: float
    alpha: float


LatentOperation = Tonemap | Sharpen
