"""Moving pictures as files. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

from PIL import Image, PngImagePlugin
from torch import Tensor

from kit.errors import InvalidRequest
from orchestrator.nodes.picture_file import to_picture

_PROMPT_TAG = 0x0110
_OTHER_TAGS = range(0x010F, 0, -1)
_MS = 1000.0
_WEBP_SIDE = 16383


def frames(images: Tensor, check_cancelled: Callable[[], None]) -> list[Image.Image]:
    """8-bit pictures of a batch [B, H, W, C]."""
    found = []
    for image in images:
        check_cancelled()
        found.append(to_picture(image))
    return found


def write_webp(
    pictures: Sequence[Image.Image], texts: Mapping[str, str], fps: float, lossless: bool, quality: int, effort: int,
    file: BinaryIO,
) -> None:  # fmt: skip
    """EXIF entries are `key:text`, the prompt under Model, the others under the tags before it.

    Raises InvalidRequest (PICTURE_SIZE) for what the format cannot hold.
    """
    if max(pictures[0].size) > _WEBP_SIDE:
        raise InvalidRequest(
            "WebP holds no picture of this size; SaveAnimatedPNG does", reason="PICTURE_SIZE", at_most=_WEBP_SIDE
        )
    exif = Image.Exif()
    others = iter(_OTHER_TAGS)
    for key, text in texts.items():
        tag = _PROMPT_TAG if key == "prompt" else next(others, None)
        if tag is not None:
            exif[tag] = f"{key}:{text}"
    pictures[0].save(
        file, "WEBP", save_all=True, append_images=list(pictures[1:]), duration=int(_MS / fps), exif=exif,
        lossless=lossless, quality=quality, method=effort,
    )  # fmt: skip


def write_apng(
    pictures: Sequence[Image.Image], texts: Mapping[str, str], fps: float, compress_level: int, file: BinaryIO
) -> None:
    """Texts go behind the first picture, as `comf` chunks of key, zero byte and text."""
    chunks = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        chunks.add(b"comf", key.encode("latin-1", "replace") + b"\0" + text.encode("latin-1"), after_idat=True)
    pictures[0].save(
        file, "PNG", save_all=True, append_images=list(pictures[1:]), duration=int(_MS / fps), pnginfo=chunks,
        compress_level=compress_level,
    )  # fmt: skip
