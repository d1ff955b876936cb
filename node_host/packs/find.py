"""Which packs a path names: a folder with __init__.py, one file, or a folder full of these."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kit.errors import NotFound

_SKIPPED = frozenset({"__pycache__", "node_modules", ".venv", "venv", ".git"})
_EXPANDS = re.compile(rb"""["']expand["']|\bexpand\s*=[^=]""")
_MAX_SOURCE_FILES = 5000


@dataclass(frozen=True)
class PackSource:
    """A pack on disk; `name` as URLs and module names have it."""

    name: str
    path: Path

    @property
    def entry(self) -> Path:
        """The file that is executed."""
        return self.path / "__init__.py" if self.path.is_dir() else self.path

    def sources(self) -> Iterator[Path]:
        """Its Python files."""
        if self.path.is_file():
            yield self.path
            return
        number = 0
        for folder, names, files in os.walk(self.path):
            names[:] = sorted(name for name in names if name not in _SKIPPED)
            for name in sorted(files):
                if name.endswith(".py") and number < _MAX_SOURCE_FILES:
                    number += 1
                    yield Path(folder) / name

    def may_expand(self) -> bool:
        """Whether some node of it may return a graph; the engine then keeps all values of a run."""
        return any(_EXPANDS.search(file.read_bytes()) for file in self.sources())

    def state(self) -> str:
        """Changes with its code."""
        found = ((str(file), file.stat()) for file in self.sources())
        return ";".join(f"{name}:{stat.st_mtime_ns}:{stat.st_size}" for name, stat in found)


def find_packs(paths: Iterable[Path]) -> list[PackSource]:
    """In order, each once. Raises NotFound (NODE_PACK) for a path where there is none."""
    found: dict[Path, PackSource] = {}
    for path in paths:
        here = list(_packs_at(path.expanduser().resolve()))
        if not here:
            raise NotFound(
                "no node pack is here: a folder with an __init__.py, a .py file, or a folder full of these is needed",
                reason="NODE_PACK", path=str(path),
            )  # fmt: skip
        for pack in here:
            found.setdefault(pack.path, pack)
    return list(found.values())


def _packs_at(path: Path) -> Iterator[PackSource]:
    if path.is_file() and path.suffix == ".py":
        yield PackSource(path.stem, path)
    elif (path / "__init__.py").is_file():
        yield PackSource(path.name, path)
    elif path.is_dir():
        for child in sorted(path.iterdir()):
            hidden = child.name.startswith((".", "_")) or child.name.endswith(".disabled") or child.name in _SKIPPED
            if not hidden and child.is_file() and child.suffix == ".py":
                yield PackSource(child.stem, child)
            elif not hidden and (child / "__init__.py").is_file():
                yield PackSource(child.name, child)
