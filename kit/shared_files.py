"""Tensors of one call in shared memory: a file below /dev/shm that is written once, read once and gone.

Read with `pread`, never mapped: a peer that shortens its file makes an error here and no signal.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from kit.errors import Busy, InvalidRequest

SHARED_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "heliograph-node-"
_NAME: Final = re.compile(r"heliograph-node-[A-Za-z0-9.-]{1,200}\Z")
_COUNTER: Final = itertools.count()
_ALIGNED: Final = 64


class SharedFile:
    """A new file of this process; the lock on it says that its owner lives (see orchestrator/clients/regions.py)."""

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        """A name; nothing is there yet."""
        self.name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(8)}-{next(_COUNTER)}"
        self._path = folder / self.name
        self._descriptor = -1

    def write(self, parts: Sequence[memoryview]) -> None:
        """Each part where `offsets` says. Raises Busy (SHARED_MEMORY_FULL)."""
        try:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part, at in zip(parts, offsets(parts)):
                _write(self._descriptor, part, at)
        except OSError as error:
            self.close()
            raise Busy("shared memory is full", reason="SHARED_MEMORY_FULL") from error

    @property
    def key(self) -> str:
        """POSIX name."""
        return f"/{self.name}"

    def close(self) -> None:
        """Removes the name, if it is still there."""
        with suppress(OSError):
            self._path.unlink()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def offsets(parts: Sequence[memoryview]) -> list[int]:
    """Where each part begins, and at last where the file ends."""
    found = [0]
    for part in parts:
        found.append(found[-1] + aligned(part.nbytes))
    return found


def aligned(nbytes: int) -> int:
    """What a part of so many bytes takes."""
    return -(-nbytes // _ALIGNED) * _ALIGNED


def read(key: str, offset: int, size: int, folder: Path = SHARED_MEMORY) -> bytearray:
    """A copy of a peer's bytes. Raises InvalidRequest (SHARED_REGION)."""
    path = _path(key, folder)
    if offset < 0 or size < 0:
        raise _wrong(key, "negative")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise _wrong(key, "not there") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or offset + size > status.st_size:
            raise _wrong(key, "too short")
        content = bytearray(size)
        view, done = memoryview(content), 0
        while done < size:
            got = os.preadv(descriptor, [view[done:]], offset + done)
            if not got:
                raise _wrong(key, "too short")
            done += got
        return content
    finally:
        os.close(descriptor)


def remove(key: str, folder: Path = SHARED_MEMORY) -> None:
    """A file that an answer brought has been read."""
    with suppress(OSError):
        _path(key, folder).unlink()


def probe(name: str, folder: Path = SHARED_MEMORY) -> bool:
    """Whether this process sees the same shared memory as the one that wrote the probe."""
    if not _NAME.match(name):
        return False
    wanted = name.encode()
    try:
        return bytes(read(f"/{name}", 0, len(wanted), folder)) == wanted
    except InvalidRequest:
        return False


class Probe:
    """A file that holds its own name."""

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        """Raises Busy."""
        self._file = SharedFile(folder)
        self._file.write(())
        self.name = self._file.name
        (folder / self.name).write_bytes(self.name.encode())

    def close(self) -> None:
        """Removes it."""
        self._file.close()


def _write(descriptor: int, part: memoryview, at: int) -> None:
    view, done = part.cast("B"), 0
    while done < view.nbytes:
        done += os.pwrite(descriptor, view[done:], at + done)


def _path(key: str, folder: Path) -> Path:
    if not key.startswith("/") or not _NAME.match(key[1:]):
        raise _wrong(key, "not one of ours")
    return folder / key[1:]


def _wrong(key: str, why: str) -> InvalidRequest:
    return InvalidRequest("this is no shared memory to read from", reason="SHARED_REGION", key=key[:80], why=why)
