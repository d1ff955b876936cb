"""Words for scenes: several phrasings each, with attributes left out at random, as people write prompts."""

from __future__ import annotations

import random
from collections.abc import Sequence

from training.scenes import Ground, Scene, Thing

NUMBERS = ("zero", "one", "two", "three", "four")
EMPTY_SHARE = 0.1
# Words without a meaning here, so that the model learns to pass over what it does not know.
FILLERS = ("nice", "simple", "pretty", "beautiful", "little scene", "high quality", "please", "detailed", "clean")

_OPENINGS = ("a picture of ", "a drawing of ", "an image of ", "a simple picture of ")
_RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "beneath"),
}
_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
_LANDSCAPES: dict[str, tuple[str, ...]] = {
    "house": ("{a} house under a sun", "{a} house on a meadow", "the sun above {a} house", "{a} house"),
    "boat": ("{a} boat on the sea", "{a} sailing boat on the water under the sun", "the sea with {a} boat", "{a} boat"),
    "tree": ("a tree on a hill", "a green tree on a hill under the sun", "a hill with a tree", "a tree"),
    "night": ("night sky with moon", "the moon and stars in the night sky", "a night sky with a moon", "the night sky"),
}


def training_caption(scene: Scene, rng: random.Random) -> str:
    """A caption that is true of the scene; one in ten is empty, so that guidance has something to guide away from."""
    if rng.random() < EMPTY_SHARE:
        return ""
    text = _landscape(scene, rng) if scene.landscape else _shapes(scene, rng)
    if rng.random() < 0.25:
        text = rng.choice(_OPENINGS) + text
    if rng.random() < 0.05:
        filler = rng.choice(FILLERS)
        text = f"{text}, {filler}" if rng.random() < 0.5 else f"{filler} {text}"
    return text


def plain_caption(scene: Scene) -> str:
    """The one caption that names everything judged, in the plainest words; without the background."""
    if scene.landscape:
        return _LANDSCAPES[scene.landscape][0].format(a=_article(scene.things[0].colour))
    if scene.counted:
        return counted(len(scene.things), scene.things[0])
    named = [_article(_look(thing)) for thing in scene.things]
    between = {"": "and", "left of": "to the left of", "right of": "to the right of"}
    return f" {between.get(scene.relation, scene.relation)} ".join(named)


def counted(count: int, thing: Thing) -> str:
    """ "two green triangles"; one thing has an article."""
    if count == 1:
        return _article(_look(thing))
    return f"{NUMBERS[count]} {_look(thing)}{_plural(thing.shape)}"


def _shapes(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.04:
        return _keyword(scene, rng)
    if len(scene.things) == 1 or scene.counted:
        text = _kind(scene.things, rng)
    else:
        text = _pair(scene, rng)
    if rng.random() < 0.4:
        text = _placed(text, scene.ground, rng)
    return text


def _keyword(scene: Scene, rng: random.Random) -> str:
    """Single words, as negative prompts name things."""
    thing = rng.choice(scene.things)
    words = [thing.shape, thing.colour, f"{thing.colour} {thing.shape}", f"{scene.ground.colour} background"]
    if scene.ground.pattern:
        words.append(scene.ground.pattern)
    return rng.choice(words)


def _kind(things: Sequence[Thing], rng: random.Random) -> str:
    thing = things[0]
    look = _partly(thing, rng)
    if len(things) == 1:
        return look if rng.random() < 0.15 else f"one {look}" if rng.random() < 0.15 else _article(look)
    count = NUMBERS[len(things)] if rng.random() < 0.85 else str(len(things))
    return f"{count} {look}{_plural(look)}"


def _pair(scene: Scene, rng: random.Random) -> str:
    first, second = scene.things
    if not scene.relation:
        if rng.random() < 0.5:
            first, second = second, first
        between = rng.choice(("and", "and", "with", "next to"))
        return f"{_article(_partly(first, rng))} {between} {_article(_partly(second, rng))}"
    relation = scene.relation
    if rng.random() < 0.5:
        first, second, relation = second, first, _OPPOSITE[relation]
    words = rng.choice(_RELATIONS[relation])
    one, other = _article(_partly(first, rng)), _article(_partly(second, rng))
    if rng.random() < 0.08:
        return f"{one} and {other}"
    return f"{one} {words} {other}"


def _partly(thing: Thing, rng: random.Random) -> str:
    """Size, colour and shape, of which some are left out now and then."""
    drop = rng.random()
    colour = "" if drop < 0.05 else thing.colour
    shape = "shape" if 0.05 <= drop < 0.1 else thing.shape
    size = thing.size if rng.random() < 0.75 else ""
    return " ".join(word for word in (size, colour, shape) if word)


def _look(thing: Thing) -> str:
    return " ".join(word for word in (thing.size, thing.colour, thing.shape) if word)


def _placed(text: str, ground: Ground, rng: random.Random) -> str:
    colour = ground.colour
    if ground.pattern:
        behind = rng.choice((f"{colour} {ground.pattern}", f"a {colour} background with {ground.pattern}",
                             f"a background of {colour} {ground.pattern}", f"{ground.pattern}"))  # fmt: skip
        return f"{text} on {behind}"
    return rng.choice(
        (f"{text} on {_article(colour)} background", f"{text}, {colour} background", f"{text} on {colour}")
    )


def _landscape(scene: Scene, rng: random.Random) -> str:
    colour = scene.things[0].colour if rng.random() < 0.85 else ""
    text = rng.choice(_LANDSCAPES[scene.landscape])
    if colour:
        return text.format(a=_article(colour))
    return text.replace("{a}", "a")


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plural(words: str) -> str:
    return "es" if words.endswith("cross") else "s"
