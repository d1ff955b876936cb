"""Shared memory for tensors on one machine: files below /dev/shm, reused from call to call, gone with their process."""

from __future__ import annotations

import errno
import fcntl
import itertools
import logging
import mmap
import os
import secrets
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from kit.errors import Busy

SHARED_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "heliograph-"
_SMALLEST: Final = 1 << 20
_KEPT: Final = 8
_LOG = logging.getLogger(__name__)


class Region:
    """One shared memory file of fixed size; `key` is its POSIX name. The lock on it says that its owner lives."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self.name = name
        self.key = f"/{name}"
        self.size = size
        self._path = folder / name
        descriptor = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        self._descriptor = descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, size)  # a full /dev/shm is an error here and not a signal later
            self._map = mmap.mmap(descriptor, size)
        except OSError:
            self.unlink()
            raise
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)

    def unlink(self) -> None:
        """Removes the name; memory goes when the last one who mapped it lets go."""
        with suppress(OSError):
            self._path.unlink()
        with suppress(OSError):
            os.close(self._descriptor)


class RegionPool:
    """Regions that are free for the next call. One region serves one call at a time; safe for threads."""

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        self._folder = folder
        self._stem = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}-"
        self._counter = itertools.count()
        self._free: list[Region] = []
        self._lock = threading.Lock()

    def take(self, size: int) -> Region:
        """A region of at least `size` bytes, the smallest that fits. Raises Busy (SHARED_MEMORY_FULL)."""
        with self._lock:
            fitting = [region for region in self._free if region.size >= size]
            if fitting:
                best = min(fitting, key=lambda region: region.size)
                self._free.remove(best)
                return best
        rounded = max(_SMALLEST, 1 << (size - 1).bit_length())
        try:
            return Region(self._folder, f"{self._stem}{next(self._counter)}", rounded)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM, errno.EDQUOT):
                raise
            raise Busy("shared memory is full", reason="SHARED_MEMORY_FULL", bytes=rounded) from error

    def give(self, region: Region) -> Region | None:
        """Takes a region back; returns the one that is now too many (the smallest), for the caller to drop."""
        with self._lock:
            self._free.append(region)
            if len(self._free) <= _KEPT:
                return None
            least = min(self._free, key=lambda candidate: candidate.size)
            self._free.remove(least)
            return least

    def close(self) -> tuple[Region, ...]:
        """Unlinks every free region and returns them."""
        with self._lock:
            regions, self._free = tuple(self._free), []
        for region in regions:
            region.unlink()
        return regions


def sweep(folder: Path = SHARED_MEMORY) -> int:
    """Unlinks regions whose owner died without doing so; returns how many."""
    return sum(_unlinked(path) for path in _stale(folder))


def _stale(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob(f"{_PREFIX}*-*-*")):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path
        except OSError:
            continue  # its owner lives
        finally:
            os.close(descriptor)


def _unlinked(path: Path) -> bool:
    try:
        path.unlink()
    except OSError:
        return False
    _LOG.info("removed shared memory that a dead process left: %s", path.name)
    return True
