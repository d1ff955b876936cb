"""The files of a folder kind by the names that clients use: relative, with forward slashes, sorted as text.

A name from a client is only ever looked up among the names found here, never joined to a path.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from model_service.catalogue.folders import Folder

MAX_FILES = 200_000
MAX_DEPTH = 32
# A folder changed this short before it was read may change again without its time moving on: read it again next time.
SETTLED_NS = 2_000_000_000

_Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class _Scan:
    """What one directory tree held: its files, and a stamp of every directory in it."""

    files: Mapping[str, Path]
    stamps: Mapping[str, _Stamp]
    settled: bool


class Listings:
    """Names and files of folder kinds; a tree is read again only where one of its directories changed.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scans: dict[Path, _Scan] = {}

    def files(self, folder: Folder) -> dict[str, Path]:
        """Name -> path, sorted by name; of equal names in two directories the first directory's wins."""
        found: dict[str, Path] = {}
        for directory in folder.directories:
            for name, path in self._tree(directory).items():
                if folder.holds(name):
                    found.setdefault(name, path)
        return dict(sorted(found.items()))

    def _tree(self, directory: Path) -> Mapping[str, Path]:
        with self._lock:
            known = self._scans.get(directory)
        if known is not None and known.settled and all(_stamp(d) == stamp for d, stamp in known.stamps.items()):
            return known.files
        scan = _scan(directory)
        with self._lock:
            self._scans[directory] = scan
        return scan.files


def _stamp(directory: str) -> _Stamp:
    try:
        status = Path(directory).stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_dev, status.st_ino, status.st_mtime_ns)


def _scan(root: Path) -> _Scan:
    """Read a tree, following symlinks (models are often linked in) but no directory into itself."""
    now = time.time_ns()
    files: dict[str, Path] = {}
    stamps: dict[str, _Stamp] = {}
    pending: list[tuple[str, str, tuple[_Stamp, ...]]] = [(str(root), "", ())]
    while pending:
        directory, prefix, above = pending.pop()
        stamp = _stamp(directory)
        stamps[directory] = stamp
        identity = (*stamp[:2], 0)
        if identity in above or len(above) > MAX_DEPTH or stamp == (0, 0, 0):
            continue
        for entry in _entries(directory):
            name = prefix + entry.name
            kind = _kind(entry)
            if kind == "directory":
                pending.append((entry.path, name + "/", (*above, identity)))
            elif kind == "file" and len(files) < MAX_FILES:
                files[name] = Path(entry.path)
    newest = max((stamp[2] for stamp in stamps.values()), default=0)
    return _Scan(files, stamps, settled=abs(now - newest) > SETTLED_NS)


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """Visible entries whose names are text; unreadable and vanished directories have none."""
    try:
        with os.scandir(directory) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and _is_text(entry.name)]
    except OSError:
        return []


def _kind(entry: os.DirEntry[str]) -> str | None:
    """What an entry or the target of its link is; None for devices and for links that lead nowhere."""
    try:
        return "directory" if entry.is_dir() else "file" if entry.is_file() else None
    except OSError:
        return None


def _is_text(name: str) -> bool:
    # Names that are not UTF-8 could not travel to a client and back.
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\n" not in name and "\\" not in name


_TINY_VAES = ("taesd", "taesdxl", "taesd3", "taef1")


def tiny_vaes(names: Iterable[str]) -> list[str]:
    """The tiny autoencoders of which both halves are among the file names of `vae_approx`, in ComfyUI's order."""
    stems = [name.split(".")[0] for name in names]
    return [vae for vae in _TINY_VAES if f"{vae}_encoder" in stems and f"{vae}_decoder" in stems]
