"""One user's files: whole or not there at all, bounded in number and bytes. All of this blocks: call it in threads."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kit.errors import Busy, Conflict, InvalidRequest, NotFound, Unready
from rest_bridge.users.names import resolve, unsafe

_LOCK_WAIT_S = 10.0
_LOCK_PAUSE_S = 0.01
_PARTIAL = ".partial"
_LOCK = ".lock"
_MODE = 0o644
# A partial file that nobody has written to for so long was left by a process that was killed.
_ABANDONED_S = 3600.0


@dataclass(frozen=True)
class Limits:
    """How much one user may keep; folders count as files."""

    files: int
    bytes: int


@dataclass(frozen=True)
class Entry:
    """A file or folder; `path` is relative to the user's folder. Bytes, and Unix seconds."""

    path: str
    is_folder: bool
    size: int
    modified: float
    created: float


class UserFiles:
    """The folder of one user. Several processes may share it."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._limits = limits

    @property
    def root(self) -> Path:
        """The user's folder; it appears with the first file."""
        return self._root

    def find(self, name: str) -> Path:
        """A file that is there. Raises InvalidRequest (UNSAFE_PATH), NotFound (USER_FILE_NOT_FOUND)."""
        path = resolve(self._root, name)
        if not path.is_file():
            raise _absent(name)
        return path

    def folder(self, name: str) -> Path | None:
        """A folder or whatever else is there; None: nothing. Raises InvalidRequest (UNSAFE_PATH)."""
        path = resolve(self._root, name)
        return path if path.exists() else None

    def below(self, folder: Path, deep: bool) -> Iterator[Entry]:
        """Entries of a folder of `resolve`'s, at most as many as may be kept; links that lead outside are left out."""
        real_root = self._root.resolve()
        left = 2 * self._limits.files
        waiting = [folder]
        while waiting:
            for entry in _entries(waiting.pop()):
                left -= 1
                if left < 0:
                    return
                path = Path(entry.path)
                if entry.is_symlink() and not _leads_into(path, real_root):
                    continue
                if (found := _entry(path, real_root)) is not None:
                    yield found
                if deep and entry.is_dir(follow_symlinks=False):
                    waiting.append(path)

    @contextmanager
    def partial(self) -> Iterator[IO[bytes]]:
        """A file to write to before `keep` gives it its name; gone afterwards if nobody did."""
        folder = self._root.parent / _PARTIAL
        with _made(folder), tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            os.fchmod(file.fileno(), _MODE)
            try:
                yield file
            finally:
                Path(file.name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes what killed processes left."""
        for entry in _entries(self._root.parent / _PARTIAL):
            path = Path(entry.path)
            if path.is_file() and time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink(missing_ok=True)

    def keep(self, partial: IO[bytes], name: str, overwrite: bool) -> Entry:
        """Makes a written file the one of this name. Raises InvalidRequest, Conflict (USER_FILE_EXISTS), Busy."""
        partial.flush()
        os.fsync(partial.fileno())
        with self.locked():
            return self.keep_locked(partial, name, overwrite)

    def keep_locked(self, partial: IO[bytes], name: str, overwrite: bool) -> Entry:
        """`keep` for who holds the lock and has flushed."""
        path = self._place(name)
        if path.exists() and not overwrite:
            raise _taken(name)
        self._check_room(path, os.fstat(partial.fileno()).st_size, files=1)
        self._make_folders(path, name)
        os.replace(partial.name, path)  # noqa: PTH105 the same as Path.replace, for a file object's name
        return self._kept(path, name)

    def delete(self, name: str) -> None:
        """Removes a file. Raises InvalidRequest (UNSAFE_PATH), NotFound."""
        with self.locked():
            self.find(name).unlink(missing_ok=True)

    def move(self, source: str, target: str, overwrite: bool) -> Entry:
        """Gives a file another name. Raises InvalidRequest (UNSAFE_PATH), NotFound, Conflict."""
        with self.locked():
            path, goal = self.find(source), self._place(target)
            if goal.exists() and not overwrite:
                raise _taken(target)
            self._check_room(goal, 0, files=0)
            self._make_folders(goal, target)
            path.replace(goal)
            return self._kept(goal, target)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among threads and processes. Raises Busy (USER_FILES_BUSY) after some seconds."""
        with _made(self._root.parent), (self._root.parent / _LOCK).open("ab") as file:
            end = time.monotonic() + _LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Busy("the user's files are being changed", reason="USER_FILES_BUSY") from None
                    time.sleep(_LOCK_PAUSE_S)
            yield

    def _place(self, name: str) -> Path:
        """Where a file of this name may be put."""
        path = resolve(self._root, name)
        if path == self._root.resolve() or name.endswith("/"):
            raise unsafe(name)
        if path.is_dir():
            raise InvalidRequest("this is the name of a folder", reason="USER_NAME_IS_FOLDER", name=name)
        return path

    def _make_folders(self, path: Path, name: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise InvalidRequest("a part of the name is a file", reason="USER_NAME_IN_FILE", name=name) from None

    def _check_room(self, path: Path, size: int, files: int) -> None:
        """Raises Busy (USER_FILES_FULL) if `files` more of `size` bytes at `path`, with its folders, are too many."""
        entries = kept = 0
        for entry in self.below(self._root, deep=True) if self._root.is_dir() else ():
            entries += 1
            kept += entry.size
        old = path.stat().st_size if path.is_file() else None
        root = self._root.resolve()
        folders = sum(root in folder.parents and not folder.exists() for folder in path.parents)
        new = folders + (files if old is None else 0)
        if (new and entries + new > self._limits.files) or kept + size - (old or 0) > self._limits.bytes:
            raise Busy(
                "the user's folder is full",
                reason="USER_FILES_FULL",
                files=entries,
                bytes=kept,
                file_limit=self._limits.files,
                byte_limit=self._limits.bytes,
            )

    def _kept(self, path: Path, name: str) -> Entry:
        entry = _entry(path, self._root.resolve())
        if entry is None:
            raise _absent(name)
        return entry


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """The folder is there. Raises Unready (USER_FILES_UNWRITABLE) for whatever the disk refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as problem:
        raise Unready(
            "the user's folder cannot be written", reason="USER_FILES_UNWRITABLE", cause=problem.strerror
        ) from problem


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # gone meanwhile, or not ours to read
        return []


def _entry(path: Path, real_root: Path) -> Entry | None:
    """None: it vanished, or its name cannot be told."""
    try:
        facts = path.stat()
        relative = path.relative_to(real_root).as_posix()
        relative.encode("utf-8")
    except (OSError, UnicodeEncodeError):
        return None
    folder = path.is_dir()
    return Entry(relative, folder, 0 if folder else facts.st_size, facts.st_mtime, facts.st_ctime)


def _leads_into(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _absent(name: str) -> NotFound:
    return NotFound("there is no such user file", reason="USER_FILE_NOT_FOUND", name=name[:128])


def _taken(name: str) -> Conflict:
    return Conflict("there is a user file of this name", reason="USER_FILE_EXISTS", name=name[:128])
