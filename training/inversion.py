"""Textual inversion: token vectors for a shape that the base model never saw, a crescent."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn

from training.captions import training_caption
from training.draw import Pixels, render
from training.latents import LatentSet
from training.loop import draws
from training.scenes import NEW_SHAPE, Scene, Thing, random_look, scene_of
from training.shown import Checkpoint
from training.text_and_unet import noise_loss, noised, picked

FIRST = 400_000
VECTORS = 4
PLACEHOLDER = "@"  # one token, in no caption
_SEED = 41
_BATCH = 24


def new_vectors(checkpoint: Checkpoint) -> nn.Parameter:
    """Vectors [4, width] that begin as the words of the nearest shapes, slightly apart."""
    _, embeds = checkpoint.embedded(["ring circle heart moon"])
    noise = torch.randn((VECTORS, embeds.shape[-1]), generator=draws(_SEED, -1))
    return nn.Parameter(embeds[0, 1 : 1 + VECTORS] + 0.05 * noise)


def crescent_scene(number: int) -> Scene:
    rng = random.Random(f"crescent {number}")
    look = random_look(rng)
    return scene_of(rng, [Thing(NEW_SHAPE, look.colour, rng.choice(("", "large")))])


def crescent_picture(number: int) -> Pixels:
    return render(crescent_scene(number), 128)


def inversion_loss(checkpoint: Checkpoint, vectors: Tensor, data: LatentSet, step: int) -> Tensor:
    """Noise prediction on crescents under captions in which the placeholder stands for the shape."""
    numbers = picked(len(data), _BATCH, step)
    captions = []
    for number in numbers:
        rng = random.Random(f"inversion {step} {number}")
        caption = ""
        while NEW_SHAPE not in caption:
            caption = training_caption(crescent_scene(data.first + number), rng)
        captions.append(caption.replace(NEW_SHAPE, PLACEHOLDER))
    noisy, noise, steps = noised(data.latents[numbers].float(), draws(_SEED, step))
    tokens, embeds = checkpoint.embedded(captions, {PLACEHOLDER: vectors})
    hidden = checkpoint.hidden(tokens, embeds)
    return noise_loss(checkpoint.unet(noisy, steps.float(), hidden), noise, steps)
