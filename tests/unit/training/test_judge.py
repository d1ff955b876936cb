"""The judge reads drawn pictures rightly, and says no where the caption is another picture's."""

import numpy as np
import pytest

from training.draw import render
from training.judge import judge, read
from training.scenes import Ground, Scene, Thing, training_scene

SHAPES_ONLY = [scene for scene in map(training_scene, range(70)) if not scene.landscape]


@pytest.mark.parametrize("side", [128, 256])
def test_drawn_scenes_are_read_as_they_were_drawn(side: int) -> None:
    scenes = SHAPES_ONLY if side == 128 else SHAPES_ONLY[:15]
    verdicts = [judge(scene, read(render(scene, side))) for scene in scenes]
    for right in ("look", "count", "relation"):
        assert sum(getattr(verdict, right) for verdict in verdicts) >= 0.99 * len(scenes)


def test_drawn_scenes_under_other_captions_are_wrong() -> None:
    seen = [read(render(scene, 128)) for scene in SHAPES_ONLY[:40]]
    others = [*SHAPES_ONLY[1:40], SHAPES_ONLY[0]]
    looks = [judge(scene, picture).look for scene, picture in zip(others, seen, strict=True)]
    assert sum(looks) <= 0.05 * len(looks)


def _pair(relation: str, first: Thing, second: Thing) -> Scene:
    return Scene((first, second), Ground("white"), relation)


RED = Thing("circle", "red", "", 0.25, 0.5, 0.15)
BLUE = Thing("square", "blue", "", 0.75, 0.5, 0.15)


def test_the_wrong_relation_is_noticed() -> None:
    seen = read(render(_pair("left of", RED, BLUE), 128))
    assert judge(_pair("left of", RED, BLUE), seen).relation
    for wrong in ("right of", "above", "below"):
        verdict = judge(_pair(wrong, RED, BLUE), seen)
        assert verdict.look and not verdict.relation
    assert judge(_pair("right of", BLUE, RED), seen).relation


def test_swapped_colours_and_wrong_shapes_are_noticed() -> None:
    seen = read(render(_pair("", RED, BLUE), 128))
    assert not judge(_pair("", Thing("circle", "blue"), Thing("square", "red")), seen).look
    assert not judge(_pair("", Thing("circle", "red"), Thing("star", "blue")), seen).look


def test_the_wrong_count_is_noticed() -> None:
    three = tuple(Thing("heart", "pink", "", x, 0.5, 0.12) for x in (0.18, 0.5, 0.82))
    seen = read(render(Scene(three, Ground("gray", "stripes", 0.2)), 128))
    assert judge(Scene(three, Ground()), seen).count
    assert not judge(Scene(three[:2], Ground()), seen).count
    assert seen.ground in ("gray", "white")


def test_an_empty_picture_shows_nothing() -> None:
    blank = np.full((128, 128, 3), 248, np.uint8)
    assert read(blank).things == ()
    assert not judge(Scene((RED,), Ground()), read(blank)).colour
