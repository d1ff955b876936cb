"""Pictures of model files: one that lies beside the file, or one inside its own metadata."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from rest_bridge.pictures import MAX_ENCODED_BYTES
from rest_bridge.users.names import resolve

_MARKS = ("", ".preview")
_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif")
_COVERS = "ssmd_cover_images"


def beside(folder: Path, name: str) -> bytes | None:
    """`name.png`, `name.preview.png` or the like below `folder`. Raises InvalidRequest (UNSAFE_PATH). Blocks."""
    stem = str(Path(name).with_suffix(""))
    for mark in _MARKS:
        for ending in _ENDINGS:
            path = resolve(folder, stem + mark + ending)
            try:
                if path.is_file() and path.stat().st_size <= MAX_ENCODED_BYTES:
                    return path.read_bytes()
            except OSError:
                continue
    return None


def inside(metadata: Mapping[str, str]) -> Iterator[bytes]:
    """What the metadata holds as covers, best first; may be no pictures at all."""
    try:
        covers = json.loads(metadata.get(_COVERS, "[]"))
    except (ValueError, RecursionError):
        return
    for cover in covers if isinstance(covers, list) else ():
        try:
            yield base64.b64decode(cover, validate=True)
        except (TypeError, ValueError, binascii.Error):
            continue
