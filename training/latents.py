"""Pictures of the training set as latents, encoded once and kept in pieces that survive an interruption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from training.crops import as_tensor
from training.draw import Pixels, render
from training.memory import channels_last_images
from training.scenes import training_scene
from training.vae import Vae
from training.write import save_atomically

Picture = Callable[[int], Pixels]
_PIECE = 400
_BATCH = 8


@dataclass(frozen=True)
class LatentSet:
    """Latents [N, 4, side/8, side/8] of the pictures numbered from `first`."""

    first: int
    latents: Tensor

    @cached_property
    def simple(self) -> list[int]:
        """Indices of the pictures to begin with: one thing, or two that differ, on a plain background."""
        scenes = [training_scene(self.first + number) for number in range(len(self.latents))]
        return [
            number
            for number, scene in enumerate(scenes)
            if not (scene.landscape or scene.counted or scene.ground.pattern)
            and all(thing.size != "small" for thing in scene.things)
        ]

    def __len__(self) -> int:
        return len(self.latents)


def encoded(
    vae: Vae, folder: Path, first: int, count: int, picture: Picture, say: Callable[[str], None] = print
) -> LatentSet:
    """The latents of `count` pictures from `first` on; pieces that are in `folder` already are read."""
    pieces = []
    for start in range(0, count, _PIECE):
        file = folder / f"{first + start:08d}.pt"
        if not file.exists():
            numbers = range(first + start, first + min(count, start + _PIECE))
            parts = [
                vae.encode(channels_last_images(as_tensor([picture(n) for n in numbers[k : k + _BATCH]])))
                for k in range(0, len(numbers), _BATCH)
            ]
            save_atomically(torch.cat(parts).half(), file)
            say(f"{folder.name}: {start + len(numbers)}/{count} pictures encoded")
        pieces.append(torch.load(file, weights_only=True))
    return LatentSet(first, torch.cat(pieces))


def training_pictures(side: int) -> Picture:
    """The picture of a number, drawn at this side."""
    return lambda number: render(training_scene(number), side)
