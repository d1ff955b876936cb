"""System shared memory that clients registered: regions of files below /dev/shm."""

from __future__ import annotations

import mmap
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.errors import Conflict, InvalidRequest, NotFound
from kit.tensors import from_raw, raw_view

Array = npt.NDArray[Any]

SHARED_MEMORY = Path("/dev/shm")
FOREIGN = ("PostgreSQL.", "sem.", "pulse-shm-", "jack-", "lttng-", "nvidia-", "cuda.")
"""How names of other programs' objects begin, which may belong to the same user; stock KServe clients choose freely."""
MAX_REGIONS = 1024
# A POSIX name: one component, optionally after a slash. Nothing else may lead to a file.
_KEY = re.compile(r"/?[A-Za-z0-9_][A-Za-z0-9_.\-]{0,250}")


@dataclass(frozen=True)
class Region:
    """`byte_size` bytes from `offset` of the shared memory object `key`."""

    name: str
    key: str
    offset: int
    byte_size: int
    mapped: mmap.mmap

    def bytes_at(self, offset: int, byte_size: int) -> memoryview:
        """Part of the region. Raises InvalidRequest where it reaches outside, or the object was cut short since."""
        if offset < 0 or byte_size < 0 or offset + byte_size > self.byte_size:
            raise InvalidRequest(
                "invalid offset and byte size for a shared memory region", reason="SHARED_MEMORY_BOUNDS",
                region=self.name, offset=offset, byte_size=byte_size, region_bytes=self.byte_size,
            )  # fmt: skip
        if self.mapped.size() < self.offset + self.byte_size:  # touching what is gone would be a fatal signal
            raise InvalidRequest(
                "the shared memory object was made shorter", reason="SHARED_MEMORY_CUT", region=self.name
            )
        start = self.offset + offset
        return memoryview(self.mapped)[start : start + byte_size]


class Regions:
    """Registered regions by name; safe for threads. One in use stays mapped after it was unregistered."""

    def __init__(self, folder: Path = SHARED_MEMORY) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._by_name: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Map a region. Raises InvalidRequest (SHARED_MEMORY_KEY, _BOUNDS), Conflict where the name is taken."""
        if not _KEY.fullmatch(key):
            raise InvalidRequest(
                "a shared memory key is a plain name without path separators", reason="SHARED_MEMORY_KEY", key=key[:64]
            )
        if key.removeprefix("/").startswith(FOREIGN):
            raise InvalidRequest(
                "this shared memory object is another program's", reason="SHARED_MEMORY_KEY", key=key[:64]
            )
        with self._lock:
            if name in self._by_name:
                raise Conflict(
                    "a shared memory region of this name is registered", reason="SHARED_MEMORY_TAKEN", region=name
                )
            if len(self._by_name) >= MAX_REGIONS:
                raise InvalidRequest("too many shared memory regions", reason="SHARED_MEMORY_LIMIT", limit=MAX_REGIONS)
            mapped = _map(self._folder / key.removeprefix("/"), key, offset, byte_size)
            self._by_name[name] = Region(name, key, offset, byte_size, mapped)

    def unregister(self, name: str) -> None:
        """Forget one region, or all where the name is empty; unknown names are no error, as in Triton."""
        with self._lock:
            if name:
                self._by_name.pop(name, None)
            else:
                self._by_name.clear()

    def status(self, name: str = "") -> Sequence[Region]:
        """The region of this name (NotFound), or all."""
        return (self[name],) if name else tuple(self._by_name.values())

    def __getitem__(self, name: str) -> Region:
        region = self._by_name.get(name)
        if region is None:
            raise NotFound("unable to find shared memory region", reason="SHARED_MEMORY_NOT_FOUND", region=name[:128])
        return region

    def read(self, name: str, offset: int, byte_size: int, datatype: str, shape: Sequence[int]) -> Array:
        """A tensor as a view of the region, not a copy. Raises as `bytes_at` and kit.tensors.from_raw."""
        return from_raw(datatype, shape, self[name].bytes_at(offset, byte_size))

    def write(self, name: str, offset: int, byte_size: int, array: Array) -> int:
        """Put a tensor's raw contents there; how many bytes that were. Raises InvalidRequest where they do not fit."""
        raw = raw_view(array)
        if raw.nbytes > byte_size:
            raise InvalidRequest(
                "the shared memory given for an output is too small",
                reason="SHARED_MEMORY_BOUNDS", region=name, byte_size=byte_size, needed=raw.nbytes,
            )  # fmt: skip
        np.copyto(np.frombuffer(self[name].bytes_at(offset, raw.nbytes), np.uint8), np.frombuffer(raw, np.uint8))
        return raw.nbytes


def _map(path: Path, key: str, offset: int, byte_size: int) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequest(
            "unable to open shared memory region", reason="SHARED_MEMORY_KEY", key=key, cause=error.strerror
        ) from None
    try:
        facts = os.fstat(descriptor)
        if facts.st_uid != os.geteuid():  # as root we could open everybody's
            raise InvalidRequest("this shared memory object is another user's", reason="SHARED_MEMORY_KEY", key=key)
        size = facts.st_size
        if offset < 0 or byte_size <= 0 or offset + byte_size > size:
            raise InvalidRequest(
                "the shared memory object is smaller than the region", reason="SHARED_MEMORY_BOUNDS",
                key=key, offset=offset, byte_size=byte_size, object_bytes=size,
            )  # fmt: skip
        return mmap.mmap(descriptor, offset + byte_size)
    except (OSError, ValueError) as error:
        raise InvalidRequest("this is no shared memory object", reason="SHARED_MEMORY_KEY", key=key) from error
    finally:
        os.close(descriptor)
