"""BLAKE3 of a file's content, as fast as the memory allows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from blake3 import blake3

from kit.errors import InvalidModel, TooSlow

READ_BYTES = 4 << 20
# Below this a process of its own costs more than it saves.
APART_BYTES = 256 << 20
LIMIT_S = 900.0  # a large file on a slow disk

_APART = """
import sys
from blake3 import blake3
sys.stdout.write(blake3(max_threads=int(sys.argv[2])).update_mmap(sys.argv[1]).hexdigest())
"""


def content_digest(path: Path) -> str:
    """64 hexadecimal digits. Raises InvalidModel (WEIGHTS_UNREADABLE), TooSlow.

    A large file is mapped, which is two to three times as fast as reading it, by a process of its own: if the file is
    cut short meanwhile, the kernel kills that process and not this one. Then it is read once more, the slow way.
    """
    try:
        if path.stat().st_size >= APART_BYTES and (digest := _mapped(path)) is not None:
            return digest
        return _read(path)
    except OSError as error:
        raise InvalidModel(
            "the model file cannot be read", reason="WEIGHTS_UNREADABLE", file=path.name, cause=error.strerror
        ) from None


def _mapped(path: Path) -> str | None:
    command = (sys.executable, "-I", "-c", _APART, str(path), str(_threads()))
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise TooSlow("reading the model file takes too long", file=path.name, limit_s=LIMIT_S) from None
    return done.stdout if done.returncode == 0 and len(done.stdout) == 64 else None


def _read(path: Path) -> str:
    hasher = blake3(max_threads=_threads())
    buffer = bytearray(READ_BYTES)
    view = memoryview(buffer)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(view[:count])
    return str(hasher.hexdigest())


def _threads() -> int:
    return max(1, os.cpu_count() or 1)
