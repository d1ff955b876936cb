"""Moving pictures: frames, times, metadata."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from kit.errors import InvalidRequest
from orchestrator.graph.spec import NodeOutput
from orchestrator.nodes import animation as nodes
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, context

PROMPT = {"1": {"class_type": "EmptyImage", "inputs": {"größe": 1}}}
EXTRA = {"workflow": {"a": [1]}, "more": 2}


def grey(*levels: int, side: int = 4) -> torch.Tensor:
    return (torch.tensor(levels) / 255.0)[:, None, None, None].expand(-1, side, side, 3)


def stored(root: Path, result: NodeOutput) -> bytes:
    assert result.ui is not None
    return (root / result.ui["images"][0]["filename"]).read_bytes()  # type: ignore[index,call-overload,operator]  # Json


def opened(root: Path, result: NodeOutput) -> Image.Image:
    return Image.open(io.BytesIO(stored(root, result)))


def shown(picture: Image.Image) -> list[tuple[object, float]]:
    """(red level of the first pixel, milliseconds) of each frame."""
    found = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        frame = picture.convert("RGB").getpixel((0, 0))
        assert isinstance(frame, tuple)
        found.append((frame[0], picture.info.get("duration", 0)))
    return found


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        yield content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        place += size + 12


def test_webp_holds_every_frame_and_the_prompt(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = nodes.save_animated_webp(
        ctx, grey(10, 90, 200), "a/b", 8.0, True, 80, "fastest", prompt=PROMPT, extra_pnginfo=EXTRA
    )
    assert result.ui is not None and result.ui["animated"] == [True]
    picture = opened(tmp_path, result)
    exif = picture.getexif()
    assert shown(picture) == [(10, 125), (90, 125), (200, 125)]
    assert exif[0x0110] == f"prompt:{json.dumps(PROMPT)}"
    assert exif[0x010F] == 'workflow:{"a": [1]}' and exif[0x010E] == "more:2"
    assert isinstance(ctx.artifacts, FolderArtifacts)
    assert ctx.artifacts.saved == [("output", "a/b", ".webp", (4, 4))]


def test_webp_quality_and_method_reach_the_encoder(tmp_path: Path) -> None:
    noise = torch.rand(2, 48, 48, 3, generator=torch.Generator().manual_seed(1))
    sizes = []
    for lossless, quality in ((False, 0), (False, 90), (True, 80)):
        root = tmp_path / f"{lossless}{quality}"
        root.mkdir()
        result = nodes.save_animated_webp(context(root), noise, "x", 6.0, lossless, quality, "default")
        assert dict(opened(root, result).getexif()) == {}
        sizes.append(len(stored(root, result)))
    assert sizes[0] < sizes[1] < sizes[2]


def test_webp_methods_are_different_ones(tmp_path: Path) -> None:
    noise = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(1))
    files = [
        stored(tmp_path, nodes.save_animated_webp(context(tmp_path), noise, method, 6.0, False, 50, method))
        for method in ("fastest", "default", "slowest")
    ]
    assert len(set(files)) == 3


def test_one_webp_frame_is_not_animated(tmp_path: Path) -> None:
    result = nodes.save_animated_webp(context(tmp_path), grey(7), "x", 6.0, True, 80, "slowest")
    assert result.ui is not None and result.ui["animated"] == [False]
    assert shown(opened(tmp_path, result))[0][0] == 7


def test_webp_has_a_largest_side(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="SaveAnimatedPNG"):
        nodes.save_animated_webp(context(tmp_path), torch.zeros(1, 1, 16384, 3), "x", 6.0, True, 80, "fastest")


def test_png_holds_every_frame_and_the_prompt_behind_the_first(tmp_path: Path) -> None:
    result = nodes.save_animated_png(context(tmp_path), grey(10, 90), "x", 3.0, 9, prompt=PROMPT, extra_pnginfo=EXTRA)
    assert result.ui is not None and result.ui["animated"] == [True]
    picture = opened(tmp_path, result)
    assert shown(picture) == [(10, 333), (90, 333)]
    found = list(chunks(stored(tmp_path, result)))
    texts = [data for kind, data in found if kind == b"comf"]
    assert texts == [b"prompt\0" + json.dumps(PROMPT).encode(), b'workflow\0{"a": [1]}', b"more\0002"]
    kinds = [kind for kind, _ in found]
    assert kinds.index(b"comf") > kinds.index(b"IDAT")


def test_slow_and_still_pictures_fit_the_formats(tmp_path: Path) -> None:
    still = nodes.save_animated_png(context(tmp_path), grey(*[5] * 100), "x", 1.0)
    assert shown(opened(tmp_path, still))[0][0] == 5
    slow = nodes.save_animated_webp(context(tmp_path), grey(1, 2), "y", 0.01, True, 80, "fastest")
    assert shown(opened(tmp_path, slow))[0][1] == 100_000
