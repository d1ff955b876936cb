"""What AUDIO and VIDEO links carry. Torch is in annotations only: importing this is cheap."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class Audio:
    """AUDIO. `waveform` float32 [B, C, T] in -1..1, `sample_rate` a second."""

    waveform: torch.Tensor
    sample_rate: int


@dataclass(frozen=True, eq=False)
class VideoFrames:
    """A film in memory: `images` float32 [N, H, W, C] in 0..1, `frame_rate` a second."""

    images: torch.Tensor
    frame_rate: Fraction
    audio: Audio | None = None


@dataclass(frozen=True)
class VideoFile:
    """A film as a file, by its annotated name; nothing of it is decoded yet."""

    name: str


Video = VideoFrames | VideoFile
"""VIDEO."""
