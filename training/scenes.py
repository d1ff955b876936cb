"""What is in a picture: things with shape, colour, size and place on a background, or one of a few small scenes.

All lengths are fractions of the picture's side, y downwards. A scene is a pure function of its seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from zlib import crc32

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black")
GROUNDS = ("white", "gray", "blue", "green", "yellow", "pink", "purple", "black")
PATTERNS = ("stripes", "dots", "checks")
RELATIONS = ("left of", "right of", "above", "below")
LANDSCAPES = ("house", "boat", "tree", "night")
NEW_SHAPE = "crescent"  # never drawn for the base model: the textual inversion teaches it

# A latent's cell is 1/16 of a picture of 128 pixels: shapes must span several to be told apart.
_SINGLE_RADII = {"small": (0.15, 0.18), "": (0.22, 0.29), "large": (0.34, 0.41)}
_PAIR_RADII = {"small": (0.12, 0.14), "": (0.17, 0.2), "large": (0.21, 0.23)}
_COUNT_RADII = {2: (0.17, 0.21), 3: (0.14, 0.165), 4: (0.125, 0.145)}
_MARGIN = 0.03
_GAP = 0.03
_HELD_SHARE = 10  # one in so many pairs and counts


@dataclass(frozen=True)
class Thing:
    """One shape; `size` is small, large or "" (in between), `x`, `y` its centre, `radius` half its extent."""

    shape: str
    colour: str
    size: str = ""
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.16


@dataclass(frozen=True)
class Ground:
    """The background; `phase` in 0..1 moves a pattern, and below 0.5 stripes stand upright."""

    colour: str = "white"
    pattern: str = ""
    phase: float = 0.0


@dataclass(frozen=True)
class Scene:
    """`relation` says where the first thing is seen from the second; `landscape` is "" in pictures of shapes."""

    things: tuple[Thing, ...]
    ground: Ground
    relation: str = ""
    landscape: str = ""

    @property
    def counted(self) -> bool:
        """Whether the picture shows several things of one kind."""
        return len(self.things) > 1 and len({(thing.shape, thing.colour) for thing in self.things}) == 1


def held_look(shape: str, colour: str) -> bool:
    """Whether no training picture shows this shape in this colour: one shape of each colour, all shapes in turn."""
    return shape in SHAPES and SHAPES.index(shape) == (3 * COLOURS.index(colour) + 1) % len(SHAPES)


def held_out(scene: Scene) -> bool:
    """Whether the scene is kept for evaluation: a held-out look, or a held-out pair or count of seen looks.

    A held-out pair of looks is held out in either order and in every relation.
    """
    if scene.landscape:
        return False
    if any(held_look(thing.shape, thing.colour) for thing in scene.things):
        return True
    if len(scene.things) == 1:
        return False
    looks = "|".join(sorted(f"{thing.colour} {thing.shape}" for thing in scene.things))
    return crc32(looks.encode()) % _HELD_SHARE == 0


@lru_cache(maxsize=1 << 16)
def training_scene(seed: int) -> Scene:
    """The picture of this number; never one that is held out."""
    rng = random.Random(f"scene {seed}")
    while True:
        scene = _any_scene(rng)
        if not held_out(scene):
            return scene


def _any_scene(rng: random.Random) -> Scene:
    kind = rng.random()
    if kind < 0.05:
        return landscape_scene(rng, rng.choice(LANDSCAPES))
    if kind < 0.35:
        return scene_of(rng, [random_look(rng)])
    if kind < 0.55:
        look = replace(random_look(rng), size="")
        return scene_of(rng, [look] * rng.choice((2, 2, 3, 3, 4)))
    return pair_scene(rng, random_look(rng), random_look(rng), rng.choice((*RELATIONS, *RELATIONS, "")))


def random_look(rng: random.Random) -> Thing:
    """A thing of random shape, colour and size, not yet placed."""
    size = rng.choice(("small", "", "", "", "", "large"))
    return Thing(rng.choice(SHAPES), rng.choice(COLOURS), size)


def ground_beside(rng: random.Random, colours: set[str]) -> Ground:
    """A background on which things of these colours can be told apart."""
    colour = "white" if rng.random() < 0.5 else rng.choice(GROUNDS)
    while colour in colours:
        colour = rng.choice(GROUNDS)
    pattern = rng.choice(PATTERNS) if rng.random() < 0.2 and colour not in ("white", "black") else ""
    return Ground(colour, pattern, rng.random())


def scene_of(rng: random.Random, looks: list[Thing], ground: Ground | None = None) -> Scene:
    """One thing, or several of one kind, anywhere without touching."""
    low, high = _SINGLE_RADII[looks[0].size] if len(looks) == 1 else _COUNT_RADII[len(looks)]
    while True:
        radius = rng.uniform(low, high)
        things: list[Thing] = []
        for look in looks:
            reach = radius + _MARGIN
            x, y = rng.uniform(reach, 1 - reach), rng.uniform(reach, 1 - reach)
            things.append(replace(look, x=x, y=y, radius=radius))
        if all(apart(one, other) for i, one in enumerate(things) for other in things[:i]):
            return Scene(tuple(things), ground or ground_beside(rng, {look.colour for look in looks}))


def apart(one: Thing, other: Thing) -> bool:
    """Whether there is a gap between the things' circles."""
    return bool((one.x - other.x) ** 2 + (one.y - other.y) ** 2 > (one.radius + other.radius + _GAP) ** 2)


def pair_scene(rng: random.Random, first: Thing, second: Thing, relation: str, ground: Ground | None = None) -> Scene:
    """Two things, the first `relation` the second; looks that are equal are made different."""
    while (first.shape, first.colour) == (second.shape, second.colour):
        second = random_look(rng)
    where = relation or rng.choice(RELATIONS)
    while True:
        one, other = (replace(thing, radius=rng.uniform(*_PAIR_RADII[thing.size])) for thing in (first, second))
        x1, y1 = _anywhere(rng, one.radius)
        x2, y2 = _anywhere(rng, other.radius)
        one, other = replace(one, x=x1, y=y1), replace(other, x=x2, y=y2)
        if relation_of(one, other) == where and apart(one, other):
            break
    return Scene((one, other), ground or ground_beside(rng, {one.colour, other.colour}), relation)


def _anywhere(rng: random.Random, radius: float) -> tuple[float, float]:
    reach = radius + _MARGIN
    return rng.uniform(reach, 1 - reach), rng.uniform(reach, 1 - reach)


def relation_of(first: Thing, second: Thing) -> str:
    """Where the first is seen from the second; "" where neither direction prevails."""
    dx, dy = first.x - second.x, first.y - second.y
    if abs(dx) > 1.6 * abs(dy):
        return "left of" if dx < 0 else "right of"
    if abs(dy) > 1.6 * abs(dx):
        return "above" if dy < 0 else "below"
    return ""


def landscape_scene(rng: random.Random, landscape: str) -> Scene:
    """A house under a sun, a boat on the sea, a tree on a hill or a night sky; the main thing comes first."""
    x = rng.uniform(0.28, 0.72)
    colour = rng.choice(("red", "orange", "yellow", "blue", "purple", "pink"))
    main = Thing(landscape, colour, "", x, rng.uniform(0.6, 0.68), rng.uniform(0.17, 0.23))
    side = rng.uniform(0.14, 0.3) if x > 0.5 else rng.uniform(0.7, 0.86)
    light = Thing("sun", "yellow", "", side, rng.uniform(0.15, 0.26), rng.uniform(0.08, 0.12))
    return Scene((main, light), Ground("blue", "", rng.random()), "", landscape)
