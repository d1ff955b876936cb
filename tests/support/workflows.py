"""Our own workflows, made small enough for the synthetic checkpoint, and the check of their `.expect.yaml`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from tests.support.stack import REPO

FOLDER = REPO / "workflows"


def names() -> list[str]:
    """Every workflow we ship."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


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
    return found


def write_picture(path: Path) -> Path:
    """A small input picture with something in it."""
    picture = Image.new("RGB", (128, 128))
    picture.putdata([(x * 2, y * 2, (x ^ y) & 255) for y in range(128) for x in range(128)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
