"""Artifacts in local folders: what nodes read and save, and what the artifact service sends and takes."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import BinaryIO

from kit.errors import InvalidRequest, NotFound
from orchestrator.clients.artifact_names import highest_counter, numbered, substitute, with_copy_number
from orchestrator.clients.artifact_paths import PARTIAL, Areas, ArtifactRef
from orchestrator.clients.artifact_uploads import PartialFile, refusal
from orchestrator.ports import StoredFile

_CHUNK = 1024 * 1024
_COPIES = 10_000
_DIGESTS = 1024


class LocalArtifacts:
    """Implements `ports.Artifacts`; safe for concurrent threads and processes on one data folder."""

    def __init__(self, areas: Areas, now: Callable[[], datetime] = datetime.now) -> None:
        self._areas = areas
        self._now = now
        self._counters: dict[tuple[Path, str], tuple[int, int]] = {}  # folder, stem -> folder's mtime_ns, counter
        self._digests: dict[Path, tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()

    def input_path(self, annotated_name: str) -> Path:
        """Path of an existing file. Raises InvalidRequest, NotFound (ARTIFACT_NOT_FOUND)."""
        return self.find(self._areas.parse(annotated_name))

    def find(self, ref: ArtifactRef) -> Path:
        """Path of an existing file. Raises InvalidRequest, NotFound (ARTIFACT_NOT_FOUND)."""
        path = self._areas.path(ref)
        if not os.path.isfile(path):  # noqa: PTH113 false, not an error, for a name longer than any file's
            name = f"{ref.subfolder}/{ref.filename}".lstrip("/")
            raise NotFound("no such file", reason="ARTIFACT_NOT_FOUND", filename=name, type=ref.area)
        return path

    def save(
        self,
        area: str,
        prefix: str,
        extension: str,
        size: tuple[int, int],
        write: Callable[[BinaryIO], None],
        settle: Callable[[PartialFile], None] = PartialFile.settle,
    ) -> StoredFile:
        """Writes under the next free counter of `prefix`; `extension` with or without dot, `size` (width, height).

        `settle` puts a file on the disk, which those of the temp area are spared: they do not outlive the server.

        Raises InvalidRequest (UNSAFE_PATH) if the prefix leads outside the area.
        """
        path = PurePosixPath(normpath(substitute(prefix, size, self._now()) or "."))
        subfolder = "" if str(path.parent) == "." else str(path.parent)
        stem = path.name or "."
        folder = self._output_folder(area, subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        with PartialFile(self._areas.root(area)) as partial:
            write(partial.stream)
            if area != "temp":
                settle(partial)
            else:
                partial.stream.flush()
            counter = self._next_counter(folder, stem)
            while not partial.appear_as(folder / numbered(stem, counter, extension.lstrip("."))):
                counter = max(counter, highest_counter(folder, stem)) + 1
        with self._lock:
            self._counters[folder, stem] = (folder.stat().st_mtime_ns, counter)
        return StoredFile(numbered(stem, counter, extension.lstrip(".")), subfolder, area)

    def digest(self, annotated_name: str) -> str:
        """SHA-256 of a file's bytes, hex; remembered while inode, size and time stay."""
        path = self.input_path(annotated_name)
        facts = path.stat()
        identity = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        known = self._digests.get(path)
        if known is not None and known[0] == identity:
            return known[1]
        found = _sha256(path)
        with self._lock:
            while len(self._digests) >= _DIGESTS:
                self._digests.pop(next(iter(self._digests)))
            self._digests[path] = (identity, found)
        return found

    def store(self, partial: PartialFile, wanted: ArtifactRef, overwrite: bool) -> ArtifactRef:
        """Gives an uploaded file its name: ComfyUI's rule, equal bytes keep the name that is there, others get `a (1)`.

        Raises InvalidRequest (UNSAFE_PATH, NO_NAME, BAD_NAME, NAME_TAKEN).
        """
        target = self._areas.path(wanted)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise refusal(problem) from problem
        partial.settle()
        if overwrite:
            if os.path.isdir(target):  # noqa: PTH112 as in `find`
                raise InvalidRequest("a folder has that name", reason="NAME_TAKEN", filename=wanted.filename)
            partial.replace(target)
            return wanted
        for copy in range(_COPIES):
            name = with_copy_number(wanted.filename, copy)
            place = target.with_name(name)
            if partial.appear_as(place) or (place.is_file() and _sha256(place) == partial.sha256):
                return ArtifactRef(wanted.area, wanted.subfolder, name)
        raise InvalidRequest("too many files of that name", reason="NAME_TAKEN", filename=wanted.filename)

    def partial(self, area: str, max_bytes: int) -> PartialFile:
        """A new file in an area, to be given to `store`."""
        return PartialFile(self._areas.root(area), max_bytes)

    def read(self, ref: ArtifactRef, offset: int, length: int) -> Iterator[bytes]:
        """Pieces of at most 1 MiB from `offset`; `length` 0: to the end. Raises InvalidRequest (RANGE), NotFound."""
        with self.find(ref).open("rb") as stream:
            size = stream.seek(0, 2)
            if not 0 <= offset <= size or length < 0:
                raise InvalidRequest("no such part of the file", reason="RANGE", offset=offset, size_bytes=size)
            stream.seek(offset)
            left = length or size - offset
            while left > 0 and (piece := stream.read(min(left, _CHUNK))):
                left -= len(piece)
                yield piece

    def list_names(self, area: str, subfolder: str = "") -> list[str]:
        """File names of a folder, newest first. Raises InvalidRequest."""
        folder = self._areas.folder(area, subfolder)
        if not folder.is_dir():
            return []
        files = [(entry.stat().st_mtime_ns, entry.name) for entry in folder.iterdir() if entry.is_file()]
        return [name for _, name in sorted(files, key=lambda item: (-item[0], item[1]))]

    def clear_temp(self) -> None:
        """Empties the temp area (at server start, as ComfyUI)."""
        root = self._areas.root("temp")
        for entry in root.iterdir() if root.is_dir() else ():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        (root / PARTIAL).mkdir(parents=True, exist_ok=True)

    def _output_folder(self, area: str, subfolder: str) -> Path:
        try:
            return self._areas.folder(area, subfolder)
        except InvalidRequest as problem:
            if problem.reason != "UNSAFE_PATH":
                raise
            raise InvalidRequest(
                "**** ERROR: Saving image outside the output folder is not allowed.",
                reason="UNSAFE_PATH",
                area=area,
                subfolder=subfolder,
            ) from problem

    def _next_counter(self, folder: Path, stem: str) -> int:
        """Scans the folder, unless nothing changed in it since this process saved there last."""
        known = self._counters.get((folder, stem))
        if known is not None and folder.stat().st_mtime_ns == known[0]:
            return known[1] + 1
        return highest_counter(folder, stem) + 1


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
