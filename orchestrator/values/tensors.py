"""What LATENT, CONDITIONING, IMAGE and MASK links carry. Torch is in annotations only: importing this is cheap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def _no_options() -> Mapping[str, object]:
    return MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Latent:
    """LATENT. `samples` float32 [B, C, H/8, W/8] in unscaled latent space (as the VAE made it).

    Other families: films [B, C, T, h, w], sound [B, C, T] or [B, C, rows, T], pixels [B, 3, H, W].

    `noise_mask` float32 [B or 1, 1, H, W] (1 = denoise), `batch_index` the noise index of every batch entry.
    """

    samples: torch.Tensor
    noise_mask: torch.Tensor | None = None
    batch_index: tuple[int, ...] | None = None

    def with_samples(self, samples: torch.Tensor) -> Latent:
        """The same latent with other samples; mask and indices are kept."""
        return replace(self, samples=samples)


@dataclass(frozen=True, eq=False)
class CondEntry:
    """One entry of CONDITIONING: text states float32 [B, T, D], pooled [B, P] or None, options by ComfyUI's names."""

    cross_attn: torch.Tensor
    pooled: torch.Tensor | None = None
    options: Mapping[str, object] = field(default_factory=_no_options)

    def with_options(self, **options: object) -> CondEntry:
        """The same entry with options set (start_percent, end_percent, area, mask, strength ...)."""
        return replace(self, options=MappingProxyType({**self.options, **options}))


Conditioning = tuple[CondEntry, ...]
