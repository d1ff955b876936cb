"""Reads what a picture shows from its pixels alone: colours, connected parts, outlines. No network takes part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from training.draw import GROUND_RGB, THING_RGB, Pixels, render
from training.scenes import NEW_SHAPE, SHAPES, Ground, Scene, Thing, relation_of

Mask = npt.NDArray[np.bool_]

_COLOURS = tuple(THING_RGB)
_GROUND_NAMES = tuple(GROUND_RGB)
_PALETTE = np.array([*THING_RGB.values(), *GROUND_RGB.values()], np.float32)
_BORDER = 0.03  # of the side
_GROUND_SHARE = 0.12  # a thing's colour that covers this much of the border is background
_SMALLEST = 0.004  # of the picture; the smallest drawn thing covers 0.009
_WINDOW = 32
_SURE = 0.72  # overlap with the nearest outline; between two different shapes it is at most about 0.8
_HOLE = 0.1  # of the filled area


@dataclass(frozen=True)
class SeenThing:
    """A connected part: `shape` is "" where no outline fits; place and radius in fractions of the side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float

    def as_thing(self) -> Thing:
        return Thing(self.shape, self.colour, "", self.x, self.y, self.radius)


@dataclass(frozen=True)
class Seen:
    """Everything read from a picture, the largest thing first; `ground` is the commonest border colour's name."""

    things: tuple[SeenThing, ...]
    ground: str


@dataclass(frozen=True)
class Verdict:
    """What of a caption's scene the picture shows. For pairs: both looks; `relation` needs both as well."""

    colour: bool
    shape: bool
    look: bool
    count: bool
    relation: bool


def read(picture: Pixels) -> Seen:
    """What is in an RGB picture [H, W, 3]."""
    pixels = picture.reshape(-1, 3).astype(np.float32)
    distance = ((pixels[:, None] - _PALETTE[None]) ** 2).sum(-1)
    label = distance.argmin(-1).reshape(picture.shape[:2])
    ground, behind = _ground(label)
    parts: list[tuple[int, SeenThing]] = []
    smallest = _SMALLEST * label.size
    grain = max(1, round(label.shape[0] / 128))
    for number, colour in enumerate(_COLOURS):
        if number in behind:
            continue
        own = label == number
        # Blended edges of other colours are lines; what survives an erosion is grown back to its points and corners.
        mask = ndimage.binary_propagation(ndimage.binary_erosion(own, iterations=grain), mask=own)
        groups, count = ndimage.label(mask)
        for group in range(1, count + 1):
            part = groups == group
            area = int(part.sum())
            if area >= smallest:
                parts.append((area, _thing(part, colour)))
    parts.sort(key=lambda one: -one[0])
    return Seen(tuple(part for _, part in parts), ground)


def judge(scene: Scene, seen: Seen) -> Verdict:
    """Compare with the scene that a caption describes. Sizes and places beyond the relation are not judged."""
    if len(scene.things) == 1 or scene.counted:
        return _judge_kind(scene, seen)
    return _judge_pair(scene, seen)


def _judge_kind(scene: Scene, seen: Seen) -> Verdict:
    wanted, count = scene.things[0], len(scene.things)
    looks = [(thing.colour, thing.shape) for thing in seen.things]
    colour = bool(looks) and looks[0][0] == wanted.colour
    shape = bool(looks) and looks[0][1] == wanted.shape
    counted = len(looks) == count and set(looks) == {(wanted.colour, wanted.shape)}
    return Verdict(colour, shape, colour and shape, counted, colour and shape)


def _judge_pair(scene: Scene, seen: Seen) -> Verdict:
    first, second = scene.things
    best = Verdict(False, False, False, False, False)
    for one, other in permutations(seen.things[:4], 2):
        colour = one.colour == first.colour and other.colour == second.colour
        shape = one.shape == first.shape and other.shape == second.shape
        placed = scene.relation in ("", _prevailing(one, other))
        verdict = Verdict(colour, shape, colour and shape, colour and shape and len(seen.things) == 2,
                          colour and shape and placed)  # fmt: skip
        best = max(best, verdict, key=lambda v: (v.relation, v.look, v.colour, v.shape))
    return best


def _prevailing(one: SeenThing, other: SeenThing) -> str:
    """The direction in which two things lie most apart, however slanted."""
    exact = relation_of(one.as_thing(), other.as_thing())
    if exact:
        return exact
    dx, dy = one.x - other.x, one.y - other.y
    if abs(dx) >= abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _ground(label: npt.NDArray[np.intp]) -> tuple[str, set[int]]:
    """Name of the background and the thing colours that are part of it."""
    rim = max(2, round(_BORDER * label.shape[0]))
    border = np.concatenate(
        [label[:rim].ravel(), label[-rim:].ravel(), label[:, :rim].ravel(), label[:, -rim:].ravel()]
    )
    share = np.bincount(border, minlength=len(_PALETTE)) / border.size
    behind = {number for number in range(len(_COLOURS)) if share[number] > _GROUND_SHARE}
    blacks = {_COLOURS.index("black"), len(_COLOURS) + _GROUND_NAMES.index("black")}
    if sum(share[number] for number in blacks) > _GROUND_SHARE:
        behind.add(_COLOURS.index("black"))
    top = int(share.argmax())
    name = _COLOURS[top] if top < len(_COLOURS) else _GROUND_NAMES[top - len(_COLOURS)]
    return name, behind


def _thing(part: Mask, colour: str) -> SeenThing:
    rows, columns = np.nonzero(part)
    side = part.shape[0]
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    radius = max(bottom - top, right - left) / 2 / side
    x, y = (left + right) / 2 / side, (top + bottom) / 2 / side
    return SeenThing(_shape(part[top:bottom, left:right]), colour, float(x), float(y), float(radius))


def _shape(part: Mask) -> str:
    """The shape whose outline overlaps most; a hole decides for the ring before outlines are compared."""
    filled = ndimage.binary_fill_holes(part)
    if 1 - part.sum() / filled.sum() > _HOLE:
        return "ring" if _overlap(_window(filled), _outlines()["circle"]) > _SURE else ""
    window = _window(filled)
    scores = {name: _overlap(window, outline) for name, outline in _outlines().items()}
    name = max(scores, key=scores.__getitem__)
    return name if scores[name] > _SURE else ""


def _overlap(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def _window(part: Mask) -> Mask:
    """The part scaled to fill a square window, its proportions kept, in the middle."""
    height, width = part.shape
    scale = _WINDOW / max(height, width)
    small = Image.fromarray(part.astype(np.uint8) * 255).resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
    )
    window = np.zeros((_WINDOW, _WINDOW), np.bool_)
    top, left = (_WINDOW - small.height) // 2, (_WINDOW - small.width) // 2
    window[top : top + small.height, left : left + small.width] = np.asarray(small) > 127
    return window


@cache
def _outlines() -> dict[str, Mask]:
    outlines = {}
    for shape in (*SHAPES, NEW_SHAPE):
        if shape == "ring":
            continue
        picture = render(Scene((Thing(shape, "red", "", 0.5, 0.5, 0.35),), Ground("white")), 192)
        part = np.abs(picture.astype(int) - np.array(THING_RGB["red"])).sum(-1) < 120
        rows, columns = np.nonzero(part)
        outlines[shape] = _window(part[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
    return outlines
