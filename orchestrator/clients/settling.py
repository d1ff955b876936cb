"""Saved files on their way to the disk: a run's nodes go on meanwhile, and its outcome waits for all of them."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kit.errors import Busy
from orchestrator.clients.artifact_uploads import PartialFile
from orchestrator.clients.artifacts import LocalArtifacts
from orchestrator.ports import StoredFile

_AT_ONCE = 32  # open files of one run


@dataclass(frozen=True)
class RunArtifacts:
    """Implements `ports.Artifacts` for one run. `threads` wait for the disk, several together: it takes them in one."""

    files: LocalArtifacts
    threads: ThreadPoolExecutor
    _waits: deque[Future[None]] = field(default_factory=deque)

    def input_path(self, annotated_name: str) -> Path:
        """See the port."""
        return self.files.input_path(annotated_name)

    def digest(self, annotated_name: str) -> str:
        """See the port."""
        return self.files.digest(annotated_name)

    def save(
        self, area: str, prefix: str, extension: str, size: tuple[int, int], write: Callable[[BinaryIO], None]
    ) -> StoredFile:
        """See the port. The file is there and whole for everybody at once, and on the disk after `settled`."""
        return self.files.save(area, prefix, extension, size, write, self._settle)

    @property
    def settling(self) -> bool:
        """Whether there is something to wait for."""
        return bool(self._waits)

    async def settled(self) -> None:
        """Waits until everything saved is on the disk. Raises Busy (DISK_FULL)."""
        await asyncio.gather(*map(asyncio.wrap_future, self._waits))

    def _settle(self, partial: PartialFile) -> None:
        while len(self._waits) >= _AT_ONCE:
            self._waits.popleft().result()
        self._waits.append(self.threads.submit(_sync, partial.flushed()))


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as problem:
        raise Busy("the file cannot be written", reason="DISK_FULL", cause=problem) from problem
    finally:
        os.close(handle)
