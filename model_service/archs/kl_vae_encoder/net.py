"""Image to latent."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from model_service.archs.blocks.kl_vae import Downsample, Middle, blocks, norm
from model_service.archs.blocks.kl_vae_keys import VaeConfig


class Level(nn.Module):
    def __init__(self, width_in: int, width_out: int, count: int, downsample: bool) -> None:
        super().__init__()
        self.block = blocks(width_in, width_out, count)
        self.downsample = Downsample(width_out) if downsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return self.downsample(x)


class Encoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widths = config.channels
        self.conv_in = nn.Conv2d(config.image_channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(widths[max(level - 1, 0)], width, config.blocks, downsample=level + 1 < len(widths))
            for level, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1])
        self.norm_out = norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class VaeEncoder(nn.Module):
    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        embed, latent = config.embed_channels, config.latent_channels
        self.quant_conv = nn.Conv2d(2 * latent, 2 * embed, 1) if embed else nn.Identity()
        self.encoder = Encoder(config)

    def forward(self, image: Tensor) -> Tensor:
        """image [B, 3, H, W] in -1..1 -> mean of the posterior [B, C, H/8, W/8], not yet scaled."""
        mean, _ = self.quant_conv(self.encoder(image)).chunk(2, dim=1)
        return mean
