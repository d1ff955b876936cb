"""Which kinds of picture files Pillow may open for us."""

from __future__ import annotations

from typing import Final

FORMATS: Final = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "TIFF",
    "BMP",
    "DIB",
    "AVIF",
    "ICO",
    "TGA",
    "PPM",
    "JPEG2000",
    "QOI",
    "PSD",
    "DDS",
)
"""MPO opens as JPEG. No EPS or WMF, which other programs draw; every decoder more is one more to attack."""
