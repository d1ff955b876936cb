"""Our own workflows, as they ship or made small enough for the synthetic checkpoint, and the check of their results."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from kit.starter import is_starter
from tests.support.stack import REPO
from training.adapters_evaluated import blue_paper
from training.judge import SeenThing, judge, read
from training.scenes import Ground, Scene, Thing

FOLDER = REPO / "workflows"
EXAMPLE = FOLDER / "example.png"
_NEAR = 0.1  # of the side: how far a thing may be from the place that an expectation names


def names() -> list[str]:
    """Every workflow we ship."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def on_starter() -> list[str]:
    """Those that run on the checkpoint that we ship."""
    return [name for name in names() if any(is_starter(n["inputs"].get("ckpt_name")) for n in load(name).values())]


def load(name: str) -> dict[str, Any]:
    """The graph as it ships."""
    graph: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return graph


def expectation(name: str) -> dict[str, Any]:
    """What must hold of its result."""
    expected: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.expect.yaml").read_text("utf-8"))
    return expected


def on_synthetic_weights(
    graph: dict[str, Any], checkpoint: str, lora: str, image: str, *, shrink: int = 4
) -> dict[str, Any]:
    """The same graph on test files, each side divided by `shrink` and with three steps a sampler."""
    small = json.loads(json.dumps(graph))
    for node in small.values():
        inputs = node["inputs"]
        for key, value in (("ckpt_name", checkpoint), ("lora_name", lora), ("image", image)):
            if isinstance(inputs.get(key), str):
                inputs[key] = value
        for side in ("width", "height"):
            if node["class_type"] in ("EmptyLatentImage", "LatentUpscale"):
                inputs[side] //= shrink
        if "steps" in inputs:
            inputs["steps"] = 3
    return small


def problems(expected: dict[str, Any], pictures: list[bytes], *, shrink: int = 1) -> list[str]:
    """What does not hold; empty: everything does."""
    found = []
    if len(pictures) != expected["files"]:
        found.append(f"{len(pictures)} files, expected {expected['files']}")
    for index, data in enumerate(pictures):
        picture = Image.open(io.BytesIO(data))
        if Image.MIME.get(picture.format or "") != expected["media_type"]:
            found.append(f"format {picture.format}")
        for side, size in zip(("width", "height"), picture.size):
            if side in expected and size != expected[side] // shrink:
                found.append(f"{side} {size}, expected {expected[side] // shrink}")
        found += [f"no {key} in its metadata" for key in expected.get("metadata", []) if key not in picture.info]
        if "pixels" in expected:
            pixel = picture.convert("RGB").getpixel((3, 3))
            if any(abs(got - want) > 1 for got, want in zip(pixel, expected["pixels"][index])):  # saving truncates
                found.append(f"pixel {pixel}, expected {expected['pixels'][index]}")
        found += _not_shown(expected, np.asarray(picture.convert("RGB")))
    return found


def seen_in(data: bytes) -> tuple[SeenThing, ...]:
    """The things that a picture file shows, the largest first."""
    return read(np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).things


def _not_shown(expected: dict[str, Any], picture: Any) -> list[str]:
    """What of `shows`, `place` and `style` the pixels [H, W, 3] do not show."""
    found, seen = [], read(picture)
    if shows := expected.get("shows"):
        colours_and_shapes = [thing.split(" ") for thing in shows["things"]]
        scene = Scene(tuple(Thing(s, c) for c, s in colours_and_shapes), Ground(), shows.get("relation", ""))
        verdict = judge(scene, seen)
        if not (verdict.look and verdict.count and verdict.relation):
            found.append(f"it shows {seen}, expected {shows}")
    if place := expected.get("place"):
        at = (seen.things[0].x, seen.things[0].y) if seen.things else (-1.0, -1.0)
        if max(abs(got - want) for got, want in zip(at, place)) > _NEAR:
            found.append(f"the largest thing is at {at}, expected {place}")
    if expected.get("style") == "blueprint" and not blue_paper(picture):
        found.append("it is no blueprint")
    return found


def write_picture(path: Path) -> Path:
    """A small input picture with something in it."""
    picture = Image.new("RGB", (128, 128))
    picture.putdata([(x * 2, y * 2, (x ^ y) & 255) for y in range(128) for x in range(128)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
