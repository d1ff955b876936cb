"""Latent to image."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model_service.archs.blocks.kl_vae import Middle, Upsample, blocks, norm
from model_service.archs.blocks.kl_vae_keys import VaeConfig


class Level(nn.Module):
    def __init__(self, width_in: int, width_out: int, count: int, upsample: bool) -> None:
        super().__init__()
        self.block = blocks(width_in, width_out, count)
        self.upsample = Upsample(width_out) if upsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.upsample(x)


class Decoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(widths[min(level + 1, len(widths) - 1)], width, config.blocks, upsample=level > 0)
            for level, width in enumerate(widths)
        )
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], config.image_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class VaeDecoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        embed, latent = config.embed_channels, config.latent_channels
        self.post_quant_conv = nn.Conv2d(embed, latent, 1) if embed else nn.Identity()
        self.decoder = Decoder(config)

    def forward(self, latent: Tensor) -> Tensor:
        """latent [B, C, h, w], already divided by the model's latent scale -> image [B, 3, 8h, 8w], about -1..1."""
        return self.decoder(self.post_quant_conv(latent))
