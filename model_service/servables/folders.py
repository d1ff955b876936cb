"""Folders of bound servables on disk: written once and whole, found again after a restart, bounded in size."""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from model_service.catalogue.identity import FileStamp, stamp_of
from model_service.runtime.session import SessionRecipe

MODEL, OVERLAY, MANIFEST = "model.onnx", "overlay.safetensors", "servable.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Manifest:
    """What `servable.json` holds: how to open the model, the weights' file as it was, and what patching found."""

    recipe: SessionRecipe
    source: str
    stamp: FileStamp
    unmatched: tuple[str, ...]

    @property
    def is_current(self) -> bool:
        """Whether the weights' file is there as it was."""
        path = Path(self.source)
        return path.is_file() and stamp_of(path) == self.stamp

    def to_json(self) -> str:
        values = {"source": self.source, "stamp": asdict(self.stamp), "unmatched": self.unmatched}
        return json.dumps({**values, "recipe": json.loads(self.recipe.to_json())}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        values = json.loads(text)
        recipe = SessionRecipe.from_json(json.dumps(values["recipe"]))
        return cls(recipe, values["source"], FileStamp(**values["stamp"]), tuple(values["unmatched"]))


class ServableFolders:
    """One folder a servable below `root`, together at most about `limit_bytes`."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes
        root.mkdir(parents=True, exist_ok=True)
        for remains in root.glob(".*"):
            shutil.rmtree(remains, ignore_errors=True)

    def path(self, servable_id: str) -> Path:
        """Its folder, whether it exists or not."""
        return self._root / servable_id

    def find(self, servable_id: str) -> Manifest | None:
        """Its manifest where the folder is complete and its weights are unchanged, else None; counts as a use."""
        path = self.path(servable_id) / MANIFEST
        try:
            manifest = Manifest.from_json(path.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("%s is not readable and is made again: %s", path, error)
            return None
        if not manifest.is_current or not Path(manifest.recipe.model_path).is_file():
            return None
        os.utime(path)
        return manifest

    def write(self, servable_id: str, fill: Callable[[Path], Manifest]) -> Manifest:
        """Make a folder: `fill` writes into a temporary one, which takes its name when it is whole.

        `fill` gets the temporary folder and names files by their final place (`path`).
        """
        temporary = Path(tempfile.mkdtemp(dir=self._root, prefix=f".{servable_id}."))
        final = self.path(servable_id)
        try:
            manifest = fill(temporary)
            (temporary / MANIFEST).write_text(manifest.to_json(), "utf-8")
            if final.exists():  # of another state of the weights' file; a mapped overlay in it stays readable
                retired = Path(tempfile.mkdtemp(dir=self._root, prefix=".retired."))
                final.rename(retired / "old")
                shutil.rmtree(retired)
            temporary.rename(final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return manifest

    def trim(self, may_go: Callable[[str], bool]) -> int:
        """Remove least recently used folders until the limit holds; those for which `may_go` is False stay."""
        folders = sorted((_used_at(path), path) for path in self._root.iterdir() if not path.name.startswith("."))
        sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for _, path in folders}
        total, removed = sum(sizes.values()), 0
        for _, path in folders:
            if total <= self._limit_bytes:
                break
            if may_go(path.name):
                shutil.rmtree(path)
                total -= sizes[path]
                removed += 1
        return removed


def _used_at(folder: Path) -> float:
    manifest = folder / MANIFEST
    return manifest.stat().st_mtime if manifest.exists() else 0.0
