"""Names of user files: relative, with forward slashes, and inside their root after symlinks."""

from __future__ import annotations

from pathlib import Path

from kit.errors import InvalidRequest

_MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255
_MAX_DEPTH = 16


def resolve(root: Path, name: str) -> Path:
    """Where a client's name lies below `root`, which need not exist. Raises InvalidRequest (UNSAFE_PATH)."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or len(parts) > _MAX_DEPTH or _too_long(name, _MAX_NAME_BYTES):
        raise unsafe(name)
    if any(part == ".." or _odd(part) or _too_long(part, _MAX_PART_BYTES) for part in parts):
        raise unsafe(name)
    try:
        real_root = root.resolve()
        path = real_root.joinpath(*parts).resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that the file system refuses
        raise unsafe(name) from None
    if not path.is_relative_to(real_root):
        raise unsafe(name)
    return path


def unsafe(name: str) -> InvalidRequest:
    """The refusal of a name."""
    return InvalidRequest("the name leads outside the user's folder", reason="UNSAFE_PATH", name=repr(name[:128]))


def _odd(part: str) -> bool:
    return any(char == "\\" or ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000 for char in part)


def _too_long(text: str, limit: int) -> bool:
    return len(text.encode("utf-8", "surrogatepass")) > limit
