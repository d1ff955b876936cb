"""Files of providers for browsers: what is below some folders, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from kit.errors import NotFound

WEB_CHUNK_BYTES = 1 << 20
_MAX_FILE_BYTES = 32 << 20
_MAX_FILES = 10_000


class WebFolders:
    """Folders by the first part of their files' paths."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = {name: Path(os.path.realpath(folder)) for name, folder in folders.items()}

    def files(self) -> list[tuple[str, int]]:
        """(path, bytes) of everything that `read` gives, sorted."""
        found: list[tuple[str, int]] = []
        for name, root in self._folders.items():
            for path in _below(root):
                if len(found) >= _MAX_FILES:
                    return sorted(found)
                size = path.stat().st_size
                if size <= _MAX_FILE_BYTES:
                    found.append((f"{name}/{path.relative_to(root).as_posix()}", size))
        return sorted(found)

    def read(self, path: str) -> bytes:
        """Raises NotFound (WEB_FILE) for whatever is not a file inside one of the folders."""
        name, _, inside = path.partition("/")
        root = self._folders.get(name)
        parts = inside.split("/")
        if root is None or "\0" in path or any(part.startswith(".") or not part for part in parts):
            raise _nothing(path)
        found = Path(os.path.realpath(root.joinpath(*parts)))
        if root not in found.parents or not found.is_file() or found.stat().st_size > _MAX_FILE_BYTES:
            raise _nothing(path)
        return found.read_bytes()


def _below(root: Path) -> Iterator[Path]:
    """Files whose real place is inside."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for file in sorted(name for name in files if not name.startswith(".")):
            path = Path(folder) / file
            if path.is_file() and root in Path(os.path.realpath(path)).parents:
                yield path


def _nothing(path: str) -> NotFound:
    return NotFound("there is no such file for browsers", reason="WEB_FILE", path=path[:200])
