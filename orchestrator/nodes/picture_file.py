"""Picture files to tensors and back. Imports torch: only node functions import it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin
from torch import Tensor

from kit.errors import HeliographError, InvalidRequest
from kit.picture_formats import FORMATS
from orchestrator.nodes.bounds import bounded

# Shown where a picture has no transparency: ComfyUI's mask of fixed size.
_NO_MASK_SIDE = 64
# A multi-picture file (two views from one camera) is one picture here, not an animation.
_FIRST_ONLY = "MPO"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The picture of a file. Raises InvalidRequest (PICTURE_FILE) for what is none, is cut off or is far too large."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            yield picture
    except (HeliographError, MemoryError):
        raise
    except Exception as error:  # boundary: decoders raise errors of all kinds; the run's owner is told
        raise InvalidRequest(
            "this file cannot be read as a picture", reason="PICTURE_FILE", file=path.name, cause=str(error)[:200]
        ) from error


def load_picture(path: Path) -> tuple[Tensor, Tensor]:
    """Frames [B, H, W, 3] in 0..1 and masks [B, h, w] (1 = transparent), turned as EXIF says.

    Frames of another size than the first are left out. Without transparency the mask is 64x64 zeros.
    Raises InvalidRequest (PICTURE_FILE, TENSOR_SIZE).
    """
    frames: list[Tensor] = []
    masks: list[Tensor] = []
    with _opened(path) as picture:
        for raw in ImageSequence.Iterator(picture):
            bounded(len(frames) + 1, raw.height, raw.width, 4)  # before it is decoded: an animation may be endless
            frame = _upright(raw)
            colours = _levels(frame.convert("RGB"))  # H W 3
            if frames and colours.shape != frames[0].shape:
                continue
            frames.append(colours)
            masks.append(_transparency(frame))
            if picture.format == _FIRST_ONLY:
                break
    return torch.stack(frames), torch.stack(masks)


def load_channel(path: Path, channel: str) -> Tensor:
    """One of "alpha", "red", "green", "blue" of a file's first frame as a mask [1, H, W]; alpha is inverted."""
    with _opened(path) as picture:
        levels = _levels(_upright(picture).convert("RGBA").getchannel(channel[0].upper()))
    return (1.0 - levels if channel == "alpha" else levels)[None]


def _upright(frame: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(frame)
    # 16-bit grey, which converts to 8 bits by clipping
    return turned.point(lambda value: value * (1 / 255)) if turned.mode == "I" else turned


def _transparency(frame: Image.Image) -> Tensor:
    if "A" in frame.getbands():
        return 1.0 - _levels(frame.getchannel("A"))
    if frame.mode == "P" and "transparency" in frame.info:
        return 1.0 - _levels(frame.convert("RGBA").getchannel("A"))
    return torch.zeros(_NO_MASK_SIDE, _NO_MASK_SIDE)


def _levels(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture).astype(np.float32) / 255.0)


def to_picture(image: Tensor) -> Image.Image:
    """An 8-bit picture of `image` [H, W, 1, 3 or 4] in 0..1: 255 times, clipped, truncated."""
    levels = (image.float() * 255.0).nan_to_num_(0.0).clamp_(0, 255).to(torch.uint8).numpy()
    return Image.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def metadata(prompt: Mapping[str, object] | None, extra: Mapping[str, object] | None) -> dict[str, str]:
    """What files carry to be run again: `prompt`, and every entry of the extra data (`workflow`), as JSON texts."""
    entries = {} if prompt is None else {"prompt": prompt}
    return {key: json.dumps(value, default=dict) for key, value in {**entries, **(extra or {})}.items()}


def write_png(image: Tensor, texts: Mapping[str, str], compress_level: int, file: BinaryIO) -> None:
    """Writes `image` [H, W, C] as PNG with text chunks."""
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add_text(key, text)
    to_picture(image).save(file, "PNG", pnginfo=chunks, compress_level=compress_level)
