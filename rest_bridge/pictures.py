"""Small picture work of `/view` and `/upload/mask`, in threads and within bounds."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kit.errors import InvalidRequest
from kit.picture_formats import FORMATS

if TYPE_CHECKING:
    from PIL import Image

# Encoded size beyond which no picture is decoded; two at a time keep memory within about 1 GiB.
MAX_ENCODED_BYTES = 256 * 1024 * 1024
_AT_ONCE = 2


class Darkroom:
    """Decodes and re-encodes pictures; refuses those over `max_pixels` before their pixels are decoded."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def preview(self, data: bytes, image_format: str, quality: int, rgb: bool) -> bytes:
        """Re-encoded as "webp" or "jpeg"; `rgb` drops transparency. Raises InvalidRequest (NOT_AN_IMAGE, ...)."""
        return await self._run(self._preview, data, image_format, quality, rgb)

    async def without_alpha(self, data: bytes) -> bytes:
        """PNG of the colours."""
        return await self._run(self._without_alpha, data)

    async def alpha_only(self, data: bytes) -> bytes:
        """PNG, black with the picture's alpha (opaque if it has none)."""
        return await self._run(self._alpha_only, data)

    async def with_alpha_of(self, original: bytes, mask: bytes) -> bytes:
        """PNG of the original's colours and text chunks with the alpha of `mask`; sizes must agree."""
        return await self._run(self._with_alpha_of, original, mask)

    async def _run(self, work: Callable[..., bytes], *args: object) -> bytes:
        async with self._slots:
            return await asyncio.to_thread(work, *args)

    def _open(self, data: bytes) -> Image.Image:
        from PIL import Image

        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > self._max_pixels:
                raise InvalidRequest(
                    "the picture has more pixels than this server decodes",
                    reason="IMAGE_TOO_LARGE",
                    width=width,
                    height=height,
                    limit=self._max_pixels,
                )
            image.load()
        except Image.DecompressionBombError as problem:  # Pillow's own limit, far beyond ours
            raise InvalidRequest(
                "the picture has more pixels than this server decodes", reason="IMAGE_TOO_LARGE", limit=self._max_pixels
            ) from problem
        except (InvalidRequest, MemoryError):
            raise
        except Exception as problem:  # boundary: decoders raise errors of all kinds; the client is told
            raise InvalidRequest("the file is not a picture that can be read", reason="NOT_AN_IMAGE") from problem
        return image

    def _preview(self, data: bytes, image_format: str, quality: int, rgb: bool) -> bytes:
        image = self._open(data)
        if rgb or image_format == "jpeg":
            image = image.convert("RGB")
        elif image.mode not in ("RGB", "RGBA"):
            image = image.convert("RGBA" if "transparency" in image.info or "A" in image.getbands() else "RGB")
        return _encode(image, image_format, quality=quality)

    def _without_alpha(self, data: bytes) -> bytes:
        return _encode(self._open(data).convert("RGB"), "png")

    def _alpha_only(self, data: bytes) -> bytes:
        from PIL import Image

        image = self._open(data)
        black = Image.new("RGBA", image.size)
        black.putalpha(image.getchannel("A") if "A" in image.getbands() else 255)
        return _encode(black, "png")

    def _with_alpha_of(self, original: bytes, mask: bytes) -> bytes:
        from PIL.PngImagePlugin import PngInfo

        picture = self._open(original)
        alpha = self._open(mask).convert("RGBA").getchannel("A")
        if alpha.size != picture.size:
            raise InvalidRequest(
                "mask and original differ in size", reason="MASK_SIZE", mask=alpha.size, original=picture.size
            )
        chunks = PngInfo()
        for key, value in getattr(picture, "text", {}).items():
            chunks.add_text(key, str(value))
        merged = picture.convert("RGBA")
        merged.putalpha(alpha)
        return _encode(merged, "png", compress_level=4, pnginfo=chunks)


def _encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    try:
        image.save(target, image_format, **options)
    except (OSError, ValueError) as problem:  # e.g. webp ends at 16383 pixels a side
        raise InvalidRequest(
            "the picture cannot be encoded so", reason="CANNOT_ENCODE", format=image_format, problem=problem
        ) from problem
    return target.getvalue()
