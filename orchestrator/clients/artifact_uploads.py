"""A file that arrives in pieces: it grows unseen and appears under its name at once, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from kit.errors import Busy, InvalidRequest, Unsupported
from orchestrator.clients.artifact_paths import PARTIAL


class PartialFile:
    """A file in an area's `.partial` folder; leaving the block without `appear_as` or `replace` removes it."""

    def __init__(self, root: Path, max_bytes: int | None = None) -> None:
        self._path = root / PARTIAL / secrets.token_hex(12)
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self.size = 0
        self.stream: BinaryIO

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = self._path.open("xb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stream.close()
        self._path.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """Hex digest of what `write` got."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Appends. Raises InvalidRequest (UPLOAD_TOO_LARGE), Busy (DISK_FULL)."""
        self.size += len(data)
        if self._max_bytes is not None and self.size > self._max_bytes:
            raise InvalidRequest("the file is too large", reason="UPLOAD_TOO_LARGE", limit_bytes=self._max_bytes)
        self._digest.update(data)
        try:
            self.stream.write(data)
        except OSError as problem:
            raise Busy("the file cannot be written", reason="DISK_FULL", cause=problem) from problem

    def settle(self) -> None:
        """Puts the bytes on the disk; call it before the file appears, so that no crash leaves an empty one."""
        try:
            self.stream.flush()
            os.fsync(self.stream.fileno())
        except OSError as problem:
            raise Busy("the file cannot be written", reason="DISK_FULL", cause=problem) from problem

    def flushed(self) -> int:
        """A descriptor of the file with all its bytes handed to the system, for whoever puts them on the disk later."""
        try:
            self.stream.flush()
            return os.dup(self.stream.fileno())
        except OSError as problem:
            raise Busy("the file cannot be written", reason="DISK_FULL", cause=problem) from problem

    def appear_as(self, target: Path) -> bool:
        """Gives the file its name; False: the name is taken and nothing changed."""
        try:
            os.link(self._path, target)
        except FileExistsError:
            return False
        except ValueError as problem:
            raise refusal(problem) from problem
        except OSError as problem:
            if problem.errno not in (errno.EXDEV, errno.EPERM, errno.ENOTSUP):
                raise refusal(problem) from problem
            raise Unsupported(
                "the area's folders must lie on one file system that knows hard links",
                reason="NO_HARD_LINKS",
                folder=target.parent,
                cause=problem.strerror,
            ) from problem
        return True

    def replace(self, target: Path) -> None:
        """Gives the file its name, in place of whatever has it. Raises InvalidRequest (BAD_NAME), Busy (DISK_FULL)."""
        try:
            self._path.replace(target)
        except (OSError, ValueError) as problem:
            raise refusal(problem) from problem


def refusal(problem: OSError | ValueError) -> InvalidRequest | Busy:
    """What is told of a name that the file system does not take."""
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return Busy("the file cannot be written", reason="DISK_FULL", cause=problem.strerror)
    return InvalidRequest("the file name is not possible", reason="BAD_NAME", cause=problem)
