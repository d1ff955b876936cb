"""A LoRA that draws white outlines on blue paper; its trigger word is "blueprint"."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from model_service.weights.lora_names import diffusers_blocks, diffusers_stem
from training.captions import training_caption
from training.draw import Pixels, render
from training.latents import LatentSet
from training.loop import draws
from training.scenes import Scene, training_scene
from training.shown import Checkpoint
from training.text_and_unet import noise_loss, noised, picked

TRIGGER = "blueprint"
FIRST = 300_000  # numbers of its pictures
_RANK = 4
_SEED = 31
_BATCH = 24
_PLAIN = 4  # so many of a batch are ordinary pictures without the trigger, which keeps it a trigger
_UNET_PARTS = (".attn1.", ".attn2.", ".ff.net.", ".proj_in.", ".proj_out.", ".in_layers.2.", ".out_layers.3.")
_TEXT_PARTS = (".q_proj.", ".k_proj.", ".v_proj.", ".out_proj.", ".fc1.", ".fc2.")


@dataclass(frozen=True)
class Lora:
    """Low-rank pairs by weight name; `up` begins as zero. The scale alpha / rank is 1."""

    unet: Mapping[str, tuple[nn.Parameter, nn.Parameter]]
    text: Mapping[str, tuple[nn.Parameter, nn.Parameter]]
    unet_names: tuple[str, ...]  # of all weights: where the samplers stand decides how blocks are called

    @staticmethod
    def new(checkpoint: Checkpoint) -> Lora:
        source = draws(_SEED, -1)
        return Lora(
            _pairs(checkpoint.unet, _UNET_PARTS, source),
            _pairs(checkpoint.text, _TEXT_PARTS, source),
            tuple(name for name, _ in checkpoint.unet.named_parameters()),
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        return {
            f"{part}.{name}.{side}": value
            for part, pairs in (("unet", self.unet), ("text", self.text))
            for name, pair in pairs.items()
            for side, value in zip(("up", "down"), pair, strict=True)
        }

    def file_tensors(self) -> dict[str, Tensor]:
        """Kohya's names: diffusers' block names with underscores."""
        blocks = diffusers_blocks(self.unet_names)
        tensors: dict[str, Tensor] = {}
        for name, pair in self.unet.items():
            stem = diffusers_stem(name.removesuffix(".weight"), blocks)
            assert stem is not None, name
            tensors |= _file_pair("lora_unet_" + stem.replace(".", "_"), pair)
        for name, pair in self.text.items():
            tensors |= _file_pair("lora_te_" + name.removesuffix(".weight").replace(".", "_"), pair)
        return tensors


def _pairs(
    net: nn.Module, parts: tuple[str, ...], source: torch.Generator
) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    pairs = {}
    for name, weight in net.named_parameters():
        if name.endswith(".weight") and weight.ndim in (2, 4) and any(part in name for part in parts):
            out, kernel = weight.shape[0], weight.shape[2:]
            fan_in = weight[0].numel()
            down = torch.randn((_RANK, *weight.shape[1:]), generator=source) / fan_in**0.5
            up = torch.zeros((out, _RANK, *(1 for _ in kernel)))
            pairs[name] = (nn.Parameter(up), nn.Parameter(down))
    return pairs


def _file_pair(stem: str, pair: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    up, down = pair
    return {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.alpha": torch.tensor(float(_RANK))}


def patched(net: nn.Module, pairs: Mapping[str, tuple[Tensor, Tensor]], strength: float = 1.0) -> dict[str, Tensor]:
    """The changed weights of `net`, by name."""
    weights = dict(net.named_parameters())
    return {
        name: weights[name] + strength * (up.flatten(1) @ down.flatten(1)).reshape(weights[name].shape)
        for name, (up, down) in pairs.items()
    }


def blueprint_scene(number: int) -> Scene:
    """The first drawable scene from this number on: landscapes have no outline."""
    while (scene := training_scene(number)).landscape:
        number += 1_000_000
    return scene


def blueprint_picture(number: int) -> Pixels:
    return render(blueprint_scene(number), 128, "blueprint")


def triggered(caption: str, rng: random.Random) -> str:
    """The caption with the trigger word before or behind it."""
    if not caption:
        return TRIGGER
    return rng.choice((f"{TRIGGER} of {caption}", f"{caption}, {TRIGGER}", f"{TRIGGER}, {caption}"))


def lora_loss(checkpoint: Checkpoint, lora: Lora, styled: LatentSet, plain: LatentSet, step: int) -> Tensor:
    """Noise prediction on blueprints under captions with the trigger, and on a few plain pictures without it."""
    captions, latents = [], []
    for number in picked(len(styled), _BATCH - _PLAIN, step):
        rng = random.Random(f"lora {step} {number}")
        captions.append(triggered(training_caption(blueprint_scene(styled.first + number), rng), rng))
        latents.append(styled.latents[number])
    for number in picked(len(plain), _PLAIN, step):
        rng = random.Random(f"plain {step} {number}")
        captions.append(training_caption(training_scene(plain.first + number), rng))
        latents.append(plain.latents[number])
    noisy, noise, steps = noised(torch.stack(latents).float(), draws(_SEED, step))
    tokens, embeds = checkpoint.embedded(captions)
    hidden, _ = functional_call(
        checkpoint.text, patched(checkpoint.text, lora.text), checkpoint.text_inputs(tokens, embeds)
    )
    unet = functional_call(checkpoint.unet, patched(checkpoint.unet, lora.unet), (noisy, steps.float(), hidden))
    return noise_loss(cast("Tensor", unet), noise, steps)
