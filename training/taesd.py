"""TAESD's small autoencoder (layout of madebyollin/taesd, MIT) for previews of our latents; pictures in 0..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.crops import Pool
from training.loop import draws
from training.memory import channels_last, channels_last_images
from training.vae import Vae

WIDTH = 32  # the original has 64
_SEED = 61
_CROPS = 12


class Clamp(nn.Module):
    """Soft limit to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x) + x)


def encoder() -> nn.Sequential:
    """Pictures [B, 3, H, W] in 0..1 -> latents as samplers see them [B, 4, H/8, W/8]."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), Block()]
    for _ in range(3):
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=2, bias=False), Block(), Block(), Block()]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, 4, 3, padding=1))


def decoder() -> nn.Sequential:
    """Latents as samplers see them -> pictures in 0..1."""
    layers: list[nn.Module] = [Clamp(), nn.Conv2d(4, WIDTH, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [
            Block(),
            Block(),
            Block(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        ]
    return nn.Sequential(*layers, Block(), nn.Conv2d(WIDTH, 3, 3, padding=1))


def new_pair() -> tuple[nn.Sequential, nn.Sequential]:
    torch.manual_seed(_SEED)
    return channels_last(encoder()), channels_last(decoder())


def taesd_loss(vae: Vae, small: tuple[nn.Module, nn.Module], pool: Pool, step: int) -> Tensor:
    """The encoder follows our encoder's latents, the decoder shows the picture; both on crops of 48."""
    image = channels_last_images(pool.crops(_CROPS, 48, draws(_SEED, step)))
    latent = vae.encode(image)
    shown = image / 2 + 0.5
    own = small[0](shown)
    # Previews come while a picture still has noise, so the decoder also learns latents that are a little off.
    shaken = latent + 0.1 * torch.randn(latent.shape, generator=draws(_SEED + 1, step))
    return F.mse_loss(own, latent) + 3 * F.l1_loss(small[1](shaken), shown)
