"""Draws scenes: antialiased by drawing at three times the size, flat colours with a little variation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from training.scenes import Ground, Scene, Thing

Pixels = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]
Points = list[tuple[float, float]]

_OVER = 3  # subpixels per pixel and side

THING_RGB: dict[str, Rgb] = {
    "red": (220, 38, 38), "orange": (245, 130, 15), "yellow": (250, 210, 20), "green": (30, 150, 60),
    "blue": (30, 75, 215), "purple": (125, 45, 165), "pink": (245, 80, 170), "black": (20, 20, 24),
}  # fmt: skip
GROUND_RGB: dict[str, Rgb] = {
    "white": (248, 248, 248), "gray": (178, 180, 184), "blue": (165, 205, 250), "green": (178, 232, 178),
    "yellow": (250, 242, 175), "pink": (252, 205, 222), "purple": (212, 192, 246), "black": (38, 38, 44),
}  # fmt: skip
_SEA, _HILL, _NIGHT, _TRUNK, _MOON = (25, 95, 175), (95, 185, 85), (24, 28, 78), (125, 80, 45), (245, 240, 205)
_SKETCH_PAPER, _SKETCH_LINE = (24, 62, 130), (235, 242, 252)


def render(scene: Scene, side: int, style: str = "flat") -> Pixels:
    """The picture as RGB [side, side, 3]. Style "blueprint" draws white outlines on dark blue paper."""
    if style == "blueprint":
        return _blueprint(scene, side)
    if scene.landscape:
        return _landscape(scene, side)
    canvas = _ground(scene.ground, side)
    for thing in scene.things:
        canvas.paste(THING_RGB[thing.colour], mask=_mask(thing, side))
    return np.asarray(canvas)


def outline_points(thing: Thing) -> list[Points]:
    """Closed polygons of a thing in picture fractions: its outline, then its holes."""
    shape = _POLYGONS[thing.shape]
    return [[(thing.x + x * thing.radius, thing.y + y * thing.radius) for x, y in part] for part in shape()]


def _mask(thing: Thing, side: int) -> Image.Image:
    big = Image.new("L", (side * _OVER, side * _OVER), 0)
    pen = ImageDraw.Draw(big)
    for number, points in enumerate(outline_points(thing)):
        pen.polygon([(x * side * _OVER, y * side * _OVER) for x, y in points], fill=0 if number else 255)
    return big.reduce(_OVER)


def _ground(ground: Ground, side: int) -> Image.Image:
    colour = GROUND_RGB[ground.colour]
    if not ground.pattern:
        return Image.new("RGB", (side, side), colour)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    phase = ground.phase
    if ground.pattern == "stripes":
        wave = np.sin(2 * math.pi * (5 * (x if phase < 0.5 else y) + 2 * phase))
    elif ground.pattern == "checks":
        wave = np.sin(2 * math.pi * (2.5 * x + phase)) * np.sin(2 * math.pi * (2.5 * y + phase)) * 2
    else:
        wave = 0.55 - np.hypot((5 * x + phase) % 1 - 0.5, (5 * y + phase) % 1 - 0.5) / 0.45
        wave = -wave
    share = np.clip(wave * side / 24 + 0.5, 0, 1)[..., None]  # edges about one pixel wide
    paper = np.array((250, 250, 250), np.float32)
    return Image.fromarray((paper * share + np.array(colour, np.float32) * (1 - share) + 0.5).astype(np.uint8))


def _landscape(scene: Scene, side: int) -> Pixels:
    main, light = scene.things
    size = side * _OVER
    night = scene.landscape == "night"
    big = Image.new("RGB", (size, size), _NIGHT if night else GROUND_RGB["blue"])
    pen = ImageDraw.Draw(big)

    def disc(x: float, y: float, radius: float, colour: Rgb) -> None:
        pen.ellipse([(x - radius) * size, (y - radius) * size, (x + radius) * size, (y + radius) * size], fill=colour)

    def shape(points: Points, colour: Rgb) -> None:
        pen.polygon([(x * size, y * size) for x, y in points], fill=colour)

    if night:
        rng = random.Random(round(main.x * 1e6))
        for _ in range(rng.randint(5, 9)):
            disc(rng.uniform(0.05, 0.95), rng.uniform(0.05, 0.95), rng.uniform(0.012, 0.022), _MOON)
        disc(light.x, light.y + 0.1, light.radius * 1.4, _MOON)
        return np.asarray(big.reduce(_OVER))
    disc(light.x, light.y, light.radius, THING_RGB["yellow"])
    x, y, r, colour = main.x, main.y, main.radius, THING_RGB[main.colour]
    if scene.landscape == "house":
        shape([(0, y + r * 0.9), (1, y + r * 0.9), (1, 1), (0, 1)], _HILL)
        shape([(x - r, y - r * 0.2), (x + r, y - r * 0.2), (x + r, y + r), (x - r, y + r)], colour)
        shape([(x - 1.25 * r, y - r * 0.2), (x, y - 1.15 * r), (x + 1.25 * r, y - r * 0.2)], _TRUNK)
        shape([(x - 0.2 * r, y + r * 0.3), (x + 0.2 * r, y + r * 0.3), (x + 0.2 * r, y + r), (x - 0.2 * r, y + r)],
              (250, 250, 250))  # fmt: skip
    elif scene.landscape == "boat":
        shape([(0, y + r * 0.6), (1, y + r * 0.6), (1, 1), (0, 1)], _SEA)
        shape([(x, y - 1.3 * r), (x, y + 0.2 * r), (x + 0.9 * r, y + 0.2 * r)], (250, 250, 250))
        shape([(x - r, y + 0.35 * r), (x + r, y + 0.35 * r), (x + 0.6 * r, y + r), (x - 0.6 * r, y + r)], colour)
    else:
        disc(x, y + 1.1 + 0.6 * r, 1.1, _HILL)
        shape([(x - 0.14 * r, y - 0.3 * r), (x + 0.14 * r, y - 0.3 * r), (x + 0.14 * r, y + r), (x - 0.14 * r, y + r)],
              _TRUNK)  # fmt: skip
        disc(x, y - 0.7 * r, 0.75 * r, THING_RGB["green"])
    return np.asarray(big.reduce(_OVER))


def _blueprint(scene: Scene, side: int) -> Pixels:
    size = side * _OVER
    big = Image.new("RGB", (size, size), _SKETCH_PAPER)
    pen = ImageDraw.Draw(big)
    width = max(3, round(size * 0.022))
    for thing in scene.things:
        for points in outline_points(thing):
            closed = [(x * size, y * size) for x, y in [*points, points[0], points[1]]]
            pen.line(closed, fill=_SKETCH_LINE, width=width, joint="curve")
    return np.asarray(big.reduce(_OVER))


def _regular(corners: int, radius: float = 1.0, turn: float = -math.pi / 2) -> Points:
    angles = [turn + 2 * math.pi * k / corners for k in range(corners)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def _heart() -> Points:
    points = []
    for k in range(48):
        t = 2 * math.pi * k / 48
        across = 16 * math.sin(t) ** 3
        up = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((across / 16, -(up + 2.5) / 16))
    return points


def _star() -> Points:
    outer, inner = _regular(5), _regular(5, 0.42, -math.pi / 2 + math.pi / 5)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _cross() -> Points:
    a, b = 0.32, 0.95
    return [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)]


def _crescent() -> Points:
    """The unit disc without a disc of radius 0.8 about (0.5, 0); they meet at (0.61, +-0.79)."""
    outer = [(math.cos(a), math.sin(a)) for a in np.linspace(0.915, 2 * math.pi - 0.915, 40)]
    inner = [(0.5 + 0.8 * math.cos(a), 0.8 * math.sin(a)) for a in np.linspace(2 * math.pi - 1.433, 1.433, 40)]
    return outer + inner


_POLYGONS: dict[str, Callable[[], Sequence[Points]]] = {
    "circle": lambda: [_regular(64)],
    "square": lambda: [[(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)]],
    "triangle": lambda: [[(0.0, -0.95), (1.0, 0.8), (-1.0, 0.8)]],
    "star": lambda: [_star()],
    "ring": lambda: [_regular(64), _regular(64, 0.56)],
    "cross": lambda: [_cross()],
    "heart": lambda: [_heart()],
    "crescent": lambda: [_crescent()],
    "house": lambda: [[(-1, -0.2), (0, -1.15), (1, -0.2), (1, 1), (-1, 1)]],
    "boat": lambda: [[(-1, 0.35), (1, 0.35), (0.6, 1), (-0.6, 1)], [(0, -1.3), (0, 0.2), (0.9, 0.2)]],
    "tree": lambda: [[(0.75 * x, 0.75 * y - 0.7) for x, y in _regular(40)]],
    "night": lambda: [_regular(5)],
    "sun": lambda: [_regular(40)],
}
