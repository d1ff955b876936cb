"""The text encoder's own start: at a caption's end stands what the caption says, before any picture is seen.

From noise prediction alone the encoder is taught through a UNet that cannot listen yet, and words for relations come
last, if at all. A linear reading of its hidden states, thrown away afterwards, teaches them in minutes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.captions import plain_caption, training_caption
from training.loop import draws
from training.scenes import COLOURS, GROUNDS, LANDSCAPES, PATTERNS, SHAPES, Scene, Thing, held_look, training_scene
from training.text_and_unet import TEXT, TextAndUNet
from training.words import prompt_rows

_FIRST = 500_000  # numbers of the scenes that are only told, never drawn
_TOLD = 20_000
_PLAIN_UNTIL, _VARIED_FROM = 1500, 3000  # plain captions first, then ever more of the varied ones
_BATCH = 64
_SHORT = 32  # captions end before; the positions behind it have their turn every fourth step
_SEED = 29
_LOOK_WEIGHT, _SIDE_WEIGHT = 2.0, 3.0  # what needs two words to be put together comes last: it counts more
_EVERY_SIDE = ("left", "right", "top", "bottom")
_SIDES = {
    "left of": ("left", "right"), "right of": ("right", "left"), "above": ("top", "bottom"), "below": ("bottom", "top"),
}  # fmt: skip


@cache
def facts() -> dict[str, int]:
    """What can be true of a picture, and its place in a row of facts."""
    looks = [f"{colour} {shape}" for colour, shape in product(COLOURS, SHAPES)]
    sides = [f"{side} {word}" for side in _EVERY_SIDE for word in (*COLOURS, *SHAPES)]
    grounds = [f"on {word}" for word in (*GROUNDS, *PATTERNS)]
    rest = [*COLOURS, *SHAPES, *LANDSCAPES, "small", "large", *(f"{count} things" for count in (1, 2, 3, 4))]
    return {name: number for number, name in enumerate((*looks, *sides, *grounds, *rest))}


@cache
def weights() -> Tensor:
    """What each fact [F] counts. Looks that are held out count nothing: nothing must teach that they never occur."""
    names = facts()
    found = torch.ones(len(names))
    for colour, shape in product(COLOURS, SHAPES):
        found[names[f"{colour} {shape}"]] = 0.0 if held_look(shape, colour) else _LOOK_WEIGHT
    for side, word in product(_EVERY_SIDE, (*COLOURS, *SHAPES)):
        found[names[f"{side} {word}"]] = _SIDE_WEIGHT
    return found


def true_of(scene: Scene, *, ground: bool = True) -> list[int]:
    """Places of the facts that hold in a scene, with or without those of its ground."""
    if scene.landscape:
        return [facts()[scene.landscape]]
    found = {f"{len(scene.things)} things"} | ({f"on {scene.ground.colour}"} if ground else set())
    if ground and scene.ground.pattern:
        found.add(f"on {scene.ground.pattern}")
    for thing in scene.things:
        found |= {thing.colour, thing.shape, f"{thing.colour} {thing.shape}"} | ({thing.size} if thing.size else set())
    if scene.relation:
        found |= _sided(scene.things, _SIDES[scene.relation])
    return [facts()[name] for name in found]


def _sided(things: Sequence[Thing], sides: Sequence[str]) -> set[str]:
    return {f"{side} {word}" for thing, side in zip(things, sides, strict=True) for word in (thing.colour, thing.shape)}


@dataclass(frozen=True)
class Told:
    """Captions as rows of the small table [N, 77], and which facts [N, F] are true of their pictures (0 or 1)."""

    rows: Tensor
    truth: Tensor

    @staticmethod
    def of(captions: Sequence[str], true: Sequence[Sequence[int]]) -> Told:
        truth = torch.zeros(len(captions), len(facts()), dtype=torch.uint8)
        for row, places in zip(truth, true, strict=True):
            row[list(places)] = 1
        return Told(torch.tensor(prompt_rows(captions)[1]), truth)


@cache
def told_plainly() -> Told:
    """Captions in the plainest words, of things without sizes; the ground is not mentioned."""
    scenes = [training_scene(_FIRST + number) for number in range(_TOLD)]
    plain = [replace(scene, things=tuple(replace(thing, size="") for thing in scene.things)) for scene in scenes]
    return Told.of([plain_caption(scene) for scene in plain], [true_of(scene, ground=False) for scene in plain])


@cache
def told_variously() -> Told:
    """Captions as in training with pictures."""
    scenes = [training_scene(_FIRST + _TOLD + number) for number in range(2 * _TOLD)]
    captions = [training_caption(scene, random.Random(f"told {number}")) for number, scene in enumerate(scenes)]
    return Told.of(captions, [true_of(scene) for scene in scenes])


@dataclass(frozen=True)
class Reading:
    """The encoder under training and the linear reading of its hidden states."""

    model: TextAndUNet
    reader: nn.Linear

    @staticmethod
    def of(model: TextAndUNet) -> Reading:
        torch.manual_seed(_SEED)
        return Reading(model, nn.Linear(TEXT.width, len(facts())))

    def parameters(self) -> dict[str, nn.Parameter]:
        """The encoder's parameters, as `TextAndUNet` names them, and the reader's."""
        own = {name: p for name, p in self.model.parameters().items() if not name.startswith("unet.")}
        return {**own, **{f"reader.{name}": p for name, p in self.reader.named_parameters()}}

    def read(self, rows: Tensor) -> Tensor:
        """Logits [B, T, F] of the facts at every place of captions [B, T], T up to 77."""
        text = self.model.text.get_submodule("text_model")
        positions = cast("nn.Embedding", text.get_submodule("embeddings.position_embedding")).weight
        x = self.model.table(rows) + positions[: rows.shape[1]]
        for layer in cast("nn.ModuleList", text.get_submodule("encoder.layers")):
            x = layer(x)
        return cast("Tensor", self.reader(text.get_submodule("final_layer_norm")(x)))


def reading_loss(reading: Reading, step: int) -> Tensor:
    """Cross entropy of the facts, read at every place: what is not said yet cannot be known, which costs nothing."""
    source = draws(_SEED, step)
    share = (_VARIED_FROM - step) / (_VARIED_FROM - _PLAIN_UNTIL)
    count = round(_BATCH * min(1.0, max(0.0, share)))
    parts = [_some(told_plainly(), count, source)] if count else []
    if count < _BATCH:
        parts.append(_some(told_variously(), _BATCH - count, source))
    rows, truth = (torch.cat([part[k] for part in parts]) for k in (0, 1))
    said = reading.read(rows if step % 4 == 0 else rows[:, :_SHORT])
    loss = F.binary_cross_entropy_with_logits(said, truth[:, None].expand_as(said), reduction="none")
    return (loss * weights()).sum(-1).mean() / 10


def _some(told: Told, count: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
    chosen = torch.randint(0, len(told.rows), (count,), generator=source)
    return told.rows[chosen], told.truth[chosen].float()
