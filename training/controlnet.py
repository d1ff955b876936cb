"""A ControlNet for edges (Zhang et al. 2023): a copy of the UNet's way down that sees a drawing of outlines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from model_service.archs.registry import arch
from training.captions import training_caption
from training.draw import Pixels, render
from training.latents import LatentSet
from training.loop import draws
from training.scenes import training_scene
from training.shown import Checkpoint
from training.text_and_unet import UNET, noise_loss, noised, picked

_HINT_WIDTHS = (16, 16, 32, 32, 48, 48, 64)
_SEED = 51
_BATCH = 12
_VAGUE = 0.5  # share of captions that leave everything to the edges
_EDGE = 48  # smallest difference between neighbours, of 255


class ControlNet(nn.Module):
    """`hint` [B, 3, 8h, 8w] in 0..1, white lines on black -> what is added to the UNet's skips and middle."""

    def __init__(self) -> None:
        super().__init__()
        donor: Any = arch("sd15_unet").build(UNET)
        self.register_buffer("frequencies", donor.frequencies, persistent=False)
        self.time_embed, self.input_blocks, self.middle_block = donor.time_embed, donor.input_blocks, donor.middle_block
        widths = _skip_widths()
        self.zero_convs = nn.ModuleList(nn.Sequential(_zero(nn.Conv2d(width, width, 1))) for width in widths)
        self.middle_block_out = nn.Sequential(_zero(nn.Conv2d(widths[-1], widths[-1], 1)))
        layers: list[nn.Module] = []
        now = 3
        for number, width in enumerate(_HINT_WIDTHS):
            layers += [nn.Conv2d(now, width, 3, padding=1, stride=2 if number in (2, 4, 6) else 1), nn.SiLU()]
            now = width
        self.input_hint_block = nn.Sequential(*layers, _zero(nn.Conv2d(now, UNET.model_channels, 3, padding=1)))

    def forward(self, x: Tensor, timesteps: Tensor, context: Tensor, hint: Tensor) -> list[Tensor]:
        angles = timesteps[:, None] * cast("Tensor", self.frequencies)[None]
        time = self.time_embed(torch.cat((angles.cos(), angles.sin()), dim=-1))
        guide: Tensor | None = self.input_hint_block(hint)
        added = []
        for block, zero in zip(self.input_blocks, self.zero_convs, strict=True):
            x = block(x, time, context)
            if guide is not None:
                x, guide = x + guide, None
            added.append(zero(x))
        return [*added, self.middle_block_out(self.middle_block(x, time, context))]


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _skip_widths() -> list[int]:
    widths = [UNET.model_channels]
    for number, level in enumerate(UNET.levels):
        widths += [level.channels] * (len(level.down_depths) + (number + 1 < len(UNET.levels)))
    return widths


def copied_from(unet: nn.Module) -> ControlNet:
    """A ControlNet that begins with the UNet's weights and adds nothing yet."""
    torch.manual_seed(_SEED)
    net = ControlNet()
    net.load_state_dict(
        unet.state_dict() | {k: v for k, v in net.state_dict().items() if k not in unet.state_dict()}, strict=False
    )
    return net


def controlled(
    unet: Any, x: Tensor, timesteps: Tensor, context: Tensor, added: Sequence[Tensor], strength: float = 1.0
) -> Tensor:
    """The UNet's prediction with the ControlNet's outputs added to its skips and middle."""
    angles = timesteps[:, None] * unet.frequencies[None]
    time = unet.time_embed(torch.cat((angles.cos(), angles.sin()), dim=-1))
    skips = []
    for block in unet.input_blocks:
        x = block(x, time, context)
        skips.append(x)
    x = unet.middle_block(x, time, context) + strength * added[-1]
    skips = [skip + strength * extra for skip, extra in zip(skips, added[:-1], strict=True)]
    for block in unet.output_blocks:
        x = torch.cat((x, skips.pop()), dim=1)
        x = block(x, time, context, skips[-1] if skips else None)
    return cast("Tensor", unet.out(x))


def edges(picture: Pixels) -> Pixels:
    """White lines, about two pixels wide, where a picture's colours change; RGB like the picture."""
    values = picture.astype(np.int16)
    size = (3, 3, 1)
    change = (ndimage.maximum_filter(values, size) - ndimage.minimum_filter(values, size)).max(-1)
    return np.repeat((change > _EDGE).astype(np.uint8)[..., None] * 255, 3, axis=-1)


def hints(pictures: Sequence[Pixels]) -> Tensor:
    """Edge maps [B, 3, H, W] in 0..1."""
    return torch.from_numpy(np.stack([edges(picture) for picture in pictures])).permute(0, 3, 1, 2).float() / 255


def controlnet_loss(checkpoint: Checkpoint, net: ControlNet, data: LatentSet, step: int) -> Tensor:
    """Noise prediction with edges; half of the captions say little, so that the edges must be looked at."""
    numbers = picked(len(data), _BATCH, step)
    scenes = [training_scene(data.first + number) for number in numbers]
    captions = []
    for scene, number in zip(scenes, numbers, strict=True):
        rng = random.Random(f"control {step} {number}")
        vague = "" if scene.landscape or rng.random() < 0.3 else f"{scene.things[0].colour} shape"
        captions.append(vague if rng.random() < _VAGUE else training_caption(scene, rng))
    hint = hints([render(scene, 128) for scene in scenes])
    noisy, noise, steps = noised(data.latents[numbers].float(), draws(_SEED, step))
    context = checkpoint.context(captions)
    added = net(noisy, steps.float(), context, hint)
    return noise_loss(controlled(checkpoint.unet, noisy, steps.float(), context, added), noise, steps)
