"""Bounded reads of an untrusted file. Reads, not a mapping: a file that shrinks meanwhile must not kill the process."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.errors import InvalidModel, NotFound


@dataclass(frozen=True)
class FileWindow:
    """An open regular file and its size in bytes at opening."""

    path: Path
    size: int
    descriptor: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes at `offset`; `InvalidModel` (WEIGHTS_TRUNCATED) where the file ends earlier."""
        if offset < 0 or length < 0 or offset + length > self.size:
            self._truncated(offset, length)
        parts: list[bytes] = []
        missing = length
        while missing:
            part = os.pread(self.descriptor, missing, offset + length - missing)
            if not part:
                self._truncated(offset, length)
            parts.append(part)
            missing -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _truncated(self, offset: int, length: int) -> None:
        raise InvalidModel(
            "the file ends before its own description does",
            reason="WEIGHTS_TRUNCATED", file=self.path.name, offset=offset, wanted=length, file_bytes=self.size,
        )  # fmt: skip


@contextmanager
def open_window(path: Path) -> Iterator[FileWindow]:
    """Open a regular file; `NotFound` where there is none, `InvalidModel` for directories, pipes and empty files."""
    try:
        # Non-blocking: opening a named pipe must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFound("there is no such model file", reason="WEIGHTS_NOT_FOUND", file=path.name) from None
    except OSError as error:
        raise InvalidModel(
            "the model file cannot be opened", reason="WEIGHTS_UNREADABLE", file=path.name, cause=error.strerror
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidModel("this is a folder or a device, no model file", reason="WEIGHTS_FORMAT", file=path.name)
        if status.st_size == 0:
            raise InvalidModel("the model file is empty", reason="WEIGHTS_TRUNCATED", file=path.name, file_bytes=0)
        yield FileWindow(path, status.st_size, descriptor)
    finally:
        os.close(descriptor)
