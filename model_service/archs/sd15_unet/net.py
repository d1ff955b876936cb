"""The Stable Diffusion 1.x denoiser, at any width and depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_service.archs.blocks.ldm_unet import (
    GROUPS,
    Downsample,
    ResBlock,
    SpatialTransformer,
    Upsample,
    embedding_frequencies,
)
from model_service.archs.sd15_unet.keys import UNetConfig


class Stage(nn.ModuleList):
    """A residual block or convolution, with attention and resampling behind it, in checkpoint order."""

    def forward(self, x: Tensor, time: Tensor, context: Tensor, like: Tensor | None = None) -> Tensor:
        for part in self:
            if isinstance(part, ResBlock):
                x = part(x, time)
            elif isinstance(part, SpatialTransformer):
                x = part(x, context)
            elif isinstance(part, Upsample):
                x = part(x, like)
            else:
                x = part(x)
        return x


class UNet(nn.Module):
    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width, time_width = config.model_channels, 4 * config.model_channels
        self.register_buffer("frequencies", embedding_frequencies(width), persistent=False)
        self.time_embed = nn.Sequential(nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width))

        def stage(width_in: int, width_out: int, depth: int) -> Stage:
            parts: list[nn.Module] = [ResBlock(width_in, width_out, time_width)]
            if depth:
                parts.append(SpatialTransformer(width_out, config.context_dim, config.heads, depth))
            return Stage(parts)

        self.input_blocks = nn.ModuleList([Stage([nn.Conv2d(config.in_channels, width, 3, padding=1)])])
        skips, now = [width], width
        for number, level in enumerate(config.levels):
            for depth in level.down_depths:
                self.input_blocks.append(stage(now, level.channels, depth))
                now = level.channels
                skips.append(now)
            if number + 1 < len(config.levels):
                self.input_blocks.append(Stage([Downsample(now)]))
                skips.append(now)

        middle = stage(now, now, config.middle_depth)
        middle.append(ResBlock(now, now, time_width))
        self.middle_block = middle

        self.output_blocks = nn.ModuleList()
        for number, level in reversed(list(enumerate(config.levels))):
            for place, depth in enumerate(level.up_depths):
                block = stage(now + skips.pop(), level.channels, depth)
                now = level.channels
                if number and place + 1 == len(level.up_depths):
                    block.append(Upsample(now))
                self.output_blocks.append(block)
        self.out = nn.Sequential(
            nn.GroupNorm(GROUPS, now, eps=1e-5), nn.SiLU(), nn.Conv2d(now, config.out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
        """x [B, C, H, W], timesteps [B] (real valued), context [B, T, D] -> prediction [B, out, H, W]."""
        angles = timesteps[:, None] * self.frequencies[None]
        time = self.time_embed(torch.cat((angles.cos(), angles.sin()), dim=-1))
        skips: list[Tensor] = []
        for block in self.input_blocks:
            x = block(x, time, context)
            skips.append(x)
        x = self.middle_block(x, time, context)
        for block in self.output_blocks:
            x = torch.cat((x, skips.pop()), dim=1)
            x = block(x, time, context, skips[-1] if skips else None)
        return self.out(x)
