"""The autoencoder: 8x smaller pictures of 4 channels, with the latent's scale folded into its weights."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_service.archs.blocks.kl_vae_keys import VaeConfig
from model_service.archs.registry import arch
from training.draw import Pixels, render
from training.loop import draws
from training.memory import channels_last, channels_last_images
from training.scenes import NEW_SHAPE, Thing, random_look, scene_of, training_scene

LATENT_SCALE = 0.18215  # every SD1.x sampler multiplies by it; the weights make the product's spread 1
ENCODER = VaeConfig(3, 4, 4, (32, 32, 64, 96), 1)
# Before each last convolution stands a norm over 32 groups. With three channels in a group a colour's own value passes
# it (see `_carry_colours`); with one or two, only its sign could.
DECODER = VaeConfig(3, 4, 4, (96, 32, 64, 96), 1)
_SEED = 11
_KL = 1e-4
_EDGE = 0.5


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
                if name.endswith(("nin_shortcut.weight", "sample.conv.weight", "conv_in.weight", "quant_conv.weight")):
                    _start_as_copy(weight, averaging="downsample" in name)
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


@torch.no_grad()
def _start_as_copy(weight: Tensor, averaging: bool) -> None:
    """Let a convolution pass its inputs on; new channels keep small random weights.

    With residual blocks that begin as nothing, each 8x8 block's mean colour reaches the latent and comes back from the
    first step on, which saves the hours in which an autoencoder learns that red is red.
    """
    weight.mul_(0.5)
    side = weight.shape[-1]
    for channel in range(min(weight.shape[:2])):
        weight[channel].zero_()
        if averaging:
            weight[channel, channel, :2, :2] = 0.25
        else:
            weight[channel, channel, side // 2, side // 2] = 1.0


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


def as_tensor(pictures: list[Pixels]) -> Tensor:
    """[B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pixels(images: Tensor) -> list[Pixels]:
    """RGB pictures [H, W, 3] of images in -1..1, rounded."""
    whole = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return [np.asarray(picture) for picture in whole.numpy()]


def vae_picture(number: int, side: int) -> Pixels:
    """Any picture of the domain, other drawing styles, the new shape and soft colours included."""
    rng = random.Random(f"vae {number}")
    kind = rng.random()
    if kind < 0.05:
        smooth = torch.rand((1, 3, rng.choice((2, 4, 9)), 5), generator=torch.Generator().manual_seed(number))
        return as_pixels(F.interpolate(smooth * 2 - 1, (side, side), mode="bicubic", align_corners=True))[0]
    if kind < 0.16:
        scene = training_scene(10_000_000 + number)
        return render(scene, side, "flat" if scene.landscape else "blueprint")
    if kind < 0.2:
        return render(scene_of(rng, [Thing(NEW_SHAPE, random_look(rng).colour, rng.choice(("", "large")))]), side)
    return render(training_scene(20_000_000 + number), side)


def vae_loss(vae: Vae, step: int) -> Tensor:
    """L1 of colours and of their differences between neighbours, with a light pull of the latents to a unit normal."""
    source = draws(_SEED, step)
    if step % 4 == 3:
        image = as_tensor([vae_picture(step * 4, 128)])
    else:
        tops, lefts = torch.randint(0, 65, (2, 4), generator=source).tolist()
        pictures = [vae_picture(step * 4 + k, 128) for k in range(4)]
        image = as_tensor([p[y : y + 64, x : x + 64] for p, y, x in zip(pictures, tops, lefts, strict=True)])
    image = channels_last_images(image)
    mean, log_variance = vae.moments(image)
    latent = mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=source)
    shown = vae.decoder(latent)
    kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    across = (shown.diff(dim=3) - image.diff(dim=3)).abs().mean()
    down = (shown.diff(dim=2) - image.diff(dim=2)).abs().mean()
    return cast("Tensor", (shown - image).abs().mean() + _EDGE * (across + down) + _KL * kl)


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
