"""How long browsers may keep an answer: decided by the ending of its path, as ComfyUI does for a web UI's files."""

from __future__ import annotations

import re

_ALWAYS_ASK = re.compile(r"\.(js|css)$|(^|/)index[^/]*\.json$")
_PICTURE = re.compile(r"\.(jpg|jpeg|png|ppm|bmp|pgm|tif|tiff|webp)$", re.IGNORECASE)
_DAY, _HOUR = "public, max-age=86400", "public, max-age=3600"
_FOUND, _ELSEWHERE_FOR_NOW = frozenset({301, 308}), frozenset({302, 303, 307})


def cache_control(path: str, status: int) -> str | None:
    """Value of Cache-Control; None: the path says nothing."""
    if _ALWAYS_ASK.search(path):
        return "no-cache"
    if not _PICTURE.search(path):
        return None
    if 200 <= status < 300 or status in _FOUND:
        return _DAY
    if status == 404:
        return _HOUR
    return "no-cache" if status in _ELSEWHERE_FOR_NOW else None
