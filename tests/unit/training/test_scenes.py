"""Scenes, pictures and captions: reproducible, truthful, and disjoint from what is held out."""

import random

import numpy as np
import pytest

from training.captions import plain_caption, training_caption
from training.draw import render
from training.evaluate import questions
from training.scenes import COLOURS, NEW_SHAPE, SHAPES, Scene, held_look, held_out, relation_of, training_scene

SEEDS = range(1000)


def test_a_scene_is_a_function_of_its_number() -> None:
    assert [training_scene(n) for n in range(20)] == [training_scene(n) for n in range(20)]
    assert training_scene(1) != training_scene(2)


def test_no_training_scene_is_held_out_and_none_shows_the_new_shape() -> None:
    for number in SEEDS:
        scene = training_scene(number)
        assert not held_out(scene)
        assert all(thing.shape != NEW_SHAPE for thing in scene.things)


def test_each_colour_misses_one_shape_and_every_shape_is_missed() -> None:
    held = [(shape, colour) for shape in SHAPES for colour in COLOURS if held_look(shape, colour)]
    assert len({colour for _, colour in held}) == len(COLOURS) == len(held)
    assert {shape for shape, _ in held} == set(SHAPES)


def _looks(scene: Scene) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((thing.shape, thing.colour) for thing in scene.things))


def test_evaluation_asks_only_for_what_training_never_shows() -> None:
    seen = {_looks(training_scene(number)) for number in SEEDS}
    for name, group in questions(16).items():
        for question in group:
            if name == "single, seen":
                continue
            assert held_out(question.scene), question.prompt
            assert _looks(question.scene) not in seen, question.prompt


def test_a_relation_is_true_of_the_places() -> None:
    related = [scene for scene in map(training_scene, SEEDS) if scene.relation]
    assert len(related) > 200
    assert all(relation_of(*scene.things) == scene.relation for scene in related)


def test_captions_vary_and_some_are_empty() -> None:
    scene = next(s for s in map(training_scene, SEEDS) if s.relation == "above")
    captions = [training_caption(scene, random.Random(n)) for n in range(300)]
    assert 10 < captions.count("") < 60
    assert len(set(captions)) > 40


def test_the_plain_caption_names_what_is_there() -> None:
    for scene in map(training_scene, range(200)):
        caption = plain_caption(scene)
        if not scene.landscape:
            assert all(thing.colour in caption and thing.shape in caption for thing in scene.things)


@pytest.mark.parametrize("side", [96, 128, 256])
def test_a_picture_has_its_side_and_its_colours(side: int) -> None:
    scene = training_scene(5)
    picture = render(scene, side)
    assert picture.shape == (side, side, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, render(scene, side))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2
