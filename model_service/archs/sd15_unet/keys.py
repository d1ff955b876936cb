"""Configuration of a Stable Diffusion 1.x UNet, read from tensor names and shapes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One resolution: its width and the transformer depth behind each residual block on the way down and up."""

    channels: int
    down_depths: tuple[int, ...]
    up_depths: tuple[int, ...]


@dataclass(frozen=True)
class UNetConfig:
    """Everything that the network's structure depends on; heads are not in the weights (SD1.x: 8 at every level)."""

    model_channels: int
    in_channels: int
    out_channels: int
    context_dim: int
    levels: tuple[Level, ...]
    middle_depth: int
    heads: int = 8
