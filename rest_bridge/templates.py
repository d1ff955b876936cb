"""Example workflows: folders of the operator's, each a source with its `*.json` and pictures. All of this blocks."""

from __future__ import annotations

from pathlib import Path

from kit.errors import InvalidRequest
from rest_bridge.users.names import resolve

_MAX_SOURCES = 256
_MAX_FILES = 1024
_ENDINGS = frozenset({".json", ".jpg", ".jpeg", ".png", ".webp"})


class Templates:
    """What lies below `root`; None: nothing is offered."""

    def __init__(self, root: Path | None) -> None:
        self._root = root

    def names(self) -> dict[str, list[str]]:
        """Source to names without ending, both sorted; sources without a workflow are left out."""
        found: dict[str, list[str]] = {}
        for folder in sorted(_within(self._root))[:_MAX_SOURCES]:
            files = [path for path in sorted(_within(folder)) if path.suffix == ".json"][:_MAX_FILES]
            listed = [path.stem for path in files if self.find(folder.name, path.name) is not None]
            if listed and not folder.name.startswith("."):
                found[folder.name] = listed
        return found

    def find(self, source: str, file: str) -> Path | None:
        """A workflow or picture; None: there is none, or the name leads elsewhere."""
        if self._root is None or "/" in source or "/" in file:
            return None
        try:
            path = resolve(self._root, f"{source}/{file}")
        except InvalidRequest:
            return None
        return path if path.is_file() and path.suffix.lower() in _ENDINGS else None


def _within(folder: Path | None) -> list[Path]:
    try:
        return [] if folder is None else list(folder.iterdir())
    except OSError:  # no folder, or not ours to read
        return []
