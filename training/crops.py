"""Crops for the networks that see pixels: around edges, because between edges there is nothing to learn."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from training.draw import Pixels, render
from training.scenes import NEW_SHAPE, Thing, random_look, scene_of, training_scene

Places = npt.NDArray[np.int64]

_SIDE = 128
_EDGE = 24  # of 255: a step between neighbours that counts as an edge


def as_tensor(pictures: list[Pixels]) -> Tensor:
    """[B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pixels(images: Tensor) -> list[Pixels]:
    """RGB pictures [H, W, 3] of images in -1..1, rounded."""
    whole = ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    return [np.asarray(picture) for picture in whole.numpy()]


def any_picture(number: int, side: int) -> Pixels:
    """Any picture of the domain, other drawing styles, the new shape and soft colours included."""
    rng = random.Random(f"vae {number}")
    kind = rng.random()
    if kind < 0.03:
        smooth = torch.rand((1, 3, rng.choice((2, 4, 9)), 5), generator=torch.Generator().manual_seed(number))
        return as_pixels(F.interpolate(smooth * 2 - 1, (side, side), mode="bicubic", align_corners=True))[0]
    if kind < 0.14:
        scene = training_scene(10_000_000 + number)
        return render(scene, side, "flat" if scene.landscape else "blueprint")
    if kind < 0.18:
        return render(scene_of(rng, [Thing(NEW_SHAPE, random_look(rng).colour, rng.choice(("", "large")))]), side)
    return render(training_scene(20_000_000 + number), side)


@dataclass(frozen=True)
class Pool:
    """Pictures [N, 128, 128, 3] and, for each, the places [n, 2] (row, column) of its edges."""

    pictures: list[Pixels]
    places: list[Places]

    @staticmethod
    def drawn(count: int) -> Pool:
        pictures = [any_picture(number, _SIDE) for number in range(count)]
        return Pool(pictures, [_edge_places(picture) for picture in pictures])

    def crops(self, count: int, side: int, source: torch.Generator) -> Tensor:
        """[B, 3, side, side] in -1..1, each with an edge somewhere in its inner half where the picture allows it."""
        chosen = torch.randint(0, len(self.pictures), (count,), generator=source).tolist()
        where = torch.rand((count, 3), generator=source).tolist()
        return as_tensor(
            [
                _crop(self.pictures[number], self.places[number], side, *place)
                for number, place in zip(chosen, where, strict=True)
            ]
        )


def _edge_places(picture: Pixels) -> Places:
    values = picture.astype(np.int16)
    step = np.abs(np.diff(values, axis=0))[:, :-1].max(-1) | np.abs(np.diff(values, axis=1))[:-1].max(-1)
    return np.argwhere(step > _EDGE)


def _crop(
    picture: Pixels,
    places: Places,
    side: int,
    which: float,
    down: float,
    across: float,
) -> Pixels:
    room = _SIDE - side
    if len(places):
        row, column = places[int(which * len(places))]
        top, left = int(row - side * (0.25 + 0.5 * down)), int(column - side * (0.25 + 0.5 * across))
    else:
        top, left = int(down * (room + 1)), int(across * (room + 1))
    top, left = min(max(top, 0), room), min(max(left, 0), room)
    return picture[top : top + side, left : left + side]
