"""The autoencoder: 8x smaller pictures of 4 channels, with the latent's scale folded into its weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from model_service.archs.blocks.kl_vae_keys import VaeConfig
from model_service.archs.registry import arch
from training.crops import Pool
from training.loop import draws
from training.memory import channels_last, channels_last_images

LATENT_SCALE = 0.18215  # every SD1.x sampler multiplies by it; the weights make the product's spread 1
ENCODER = VaeConfig(3, 4, 4, (32, 32, 64, 96), 1)
# Before each last convolution stands a norm over 32 groups. With three channels in a group a colour's own value passes
# it (see `_carry_colours`); with one or two, only its sign could.
DECODER = VaeConfig(3, 4, 4, (96, 32, 64, 128), 1)
_SEED = 11
_KL = 1e-4
_SHAKEN, _SHAKEN_FROM = 0.2, 1075  # about a tenth of the spread of unscaled latents
_EDGE = 0.5
_SQUARE = 2.0  # where an edge may lie here or there, squares teach a ramp and L1 nothing


# The path of `_carry_colours`, which a tenth of the rate keeps intact.
CARRIERS = tuple(f"{layer}.{part}" for layer in ("nin_shortcut", "norm_out", "conv_out") for part in ("weight", "bias"))


@dataclass(frozen=True)
class Vae:
    """Both halves; pictures are [B, 3, H, W] in -1..1, latents in the model's space are [B, 4, H/8, W/8]."""

    encoder: nn.Module
    decoder: nn.Module

    @staticmethod
    def new(seed: int = _SEED) -> Vae:
        torch.manual_seed(seed)
        vae = Vae(arch("kl_vae_encoder").build(ENCODER), arch("kl_vae_decoder").build(DECODER))
        for half in (vae.encoder, vae.decoder):
            channels_last(half)
            for name, weight in half.named_parameters():
                if name.endswith(("conv2.weight", "mid.attn_1.proj_out.weight")):
                    nn.init.zeros_(weight)
                if name.endswith(("nin_shortcut.weight", "conv_in.weight", "quant_conv.weight")):
                    _start_as_copy(weight, _CENTRE)
                if name.endswith("downsample.conv.weight"):
                    _start_as_copy(weight, _MEAN)
                if name.endswith("upsample.conv.weight"):
                    _start_as_copy(weight, _TENT)
        _carry_colours(vae.encoder, "encoder.down.3.block.0.nin_shortcut", "encoder.norm_out", "encoder.conv_out")
        _carry_colours(vae.decoder, "decoder.up.0.block.0.nin_shortcut", "decoder.norm_out", "decoder.conv_out")
        with torch.no_grad():
            bias = cast("nn.Conv2d", vae.encoder.quant_conv).bias
            assert bias is not None
            bias.zero_()
            bias[4:] = -5.0  # little noise on the latents at first
        return vae

    def parameters(self) -> dict[str, nn.Parameter]:
        return {**dict(self.encoder.named_parameters()), **dict(self.decoder.named_parameters())}

    def moments(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the posterior, both [B, 4, h, w]."""
        encoder = cast("nn.Module", self.encoder.encoder)
        quantiser = cast("nn.Module", self.encoder.quant_conv)
        mean, log_variance = quantiser(encoder(image)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Latents as samplers see them."""
        return cast("Tensor", self.encoder(image)) * LATENT_SCALE

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Pictures from latents as samplers see them."""
        return cast("Tensor", self.decoder(latent / LATENT_SCALE)).clamp(-1, 1)


# What a kernel of three does along a side: pass on, average two, or (after doubling) interpolate linearly.
_CENTRE, _MEAN, _TENT = (0.0, 1.0, 0.0), (0.5, 0.5, 0.0), (0.25, 0.5, 0.25)


@torch.no_grad()
def _start_as_copy(weight: Tensor, line: tuple[float, float, float]) -> None:
    """Let a convolution pass its inputs on through kernels line x line; new channels keep small random weights.

    With residual blocks that begin as nothing, each 8x8 block's mean colour reaches the latent and comes back smoothly
    interpolated from the first step on: what is left to learn is to sharpen. From sharp 8x8 blocks it hardly learns.
    """
    weight.mul_(0.5)
    kernel = torch.tensor(line)[:, None] * torch.tensor(line)[None]
    if weight.shape[-1] == 1:
        kernel = kernel[1:2, 1:2]
    for channel in range(min(weight.shape[:2])):
        weight[channel].zero_()
        weight[channel, channel] = kernel


@torch.no_grad()
def _carry_colours(half: nn.Module, before: str, norm: str, after: str) -> None:
    """Let three colours pass a group norm almost unchanged, and put them out.

    In each group of three channels the first is a colour c, the others are constants +-K: then the group's spread is
    about K whatever the picture, and the first comes out as 0.82 c / K.
    """
    level = 2.0  # K, and the working point of the SiLU behind the norm, where its slope is about 1.09
    entry, out = (cast("nn.Conv2d", half.get_submodule(name)) for name in (before, after))
    spread = cast("nn.GroupNorm", half.get_submodule(norm))
    assert entry.bias is not None and out.bias is not None
    groups = len(spread.weight) // 3
    entry.weight.mul_(0.0)
    entry.bias.zero_()
    out.weight.mul_(0.3)
    out.weight[:3].zero_()
    out.bias.zero_()
    for group in range(groups):
        colour, sharers = group % 3, len(range(group % 3, groups, 3))
        entry.weight[3 * group, colour] = 1.0
        entry.bias[3 * group + 1], entry.bias[3 * group + 2] = level, -level
        spread.bias[3 * group] = level
        slope = 0.8165 / level * 1.09
        out.weight[colour, 3 * group, 1, 1] = 1 / (sharers * slope)
        out.bias[colour] -= level / (1 + math.exp(-level)) / (sharers * slope)


def vae_loss(vae: Vae, pool: Pool, step: int) -> Tensor:
    """L1 and squares of colours, L1 of their differences between neighbours, and a light pull to a unit normal."""
    source = draws(_SEED, step)
    count, side = (2, 96) if step % 6 == 5 else (8, 48)  # large ones now and then: borders are fewer in them
    image = channels_last_images(pool.crops(count, side, source))
    mean, log_variance = vae.moments(image)
    # What a sampler hands to the decoder is never quite right: in the end it learns to pass over small faults.
    spread = (log_variance.exp() + (_SHAKEN**2 if step >= _SHAKEN_FROM else 0.0)).sqrt()
    latent = mean + spread * torch.randn(mean.shape, generator=source)
    shown = vae.decoder(latent)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    across = (shown.diff(dim=3) - image.diff(dim=3)).abs().mean()
    down = (shown.diff(dim=2) - image.diff(dim=2)).abs().mean()
    error = (shown - image).abs().mean() + _SQUARE * (shown - image).square().mean()
    return cast("Tensor", error + _EDGE * (across + down) + _KL * kl)


@torch.no_grad()
def fold_scale(vae: Vae, images: Tensor) -> None:
    """Make latents of `images` times 0.18215 white (mean 0, covariance 1) by changing only the 1x1 quantisers.

    The encoder's mean m becomes W (m - mu) / 0.18215, which the decoder's first convolution takes back.
    """
    quantiser = cast("nn.Conv2d", vae.encoder.quant_conv)
    back = cast("nn.Conv2d", vae.decoder.post_quant_conv)
    latents = (
        torch.cat([vae.moments(part)[0] for part in torch.split(images, 16)]).permute(1, 0, 2, 3).flatten(1)
    )  # 4 N
    centre = latents.mean(1)
    values, vectors = torch.linalg.eigh(torch.cov(latents))
    white = vectors @ torch.diag(values.rsqrt()) @ vectors.T / LATENT_SCALE
    colour = torch.linalg.inv(white)
    bias, back_bias = quantiser.bias, back.bias
    assert bias is not None and back_bias is not None
    quantiser.weight[:4] = (white @ quantiser.weight[:4].flatten(1))[..., None, None]
    bias[:4] = white @ (bias[:4] - centre)
    old = back.weight.flatten(1)
    back_bias.add_(old @ centre)
    back.weight.copy_((old @ colour)[..., None, None])
