"""A ceiling for a process's own memory: what asks for too much gets an error instead of the process being killed."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_bytes() -> int:
    """Memory of the machine, or of the container where that is less."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *(limit for limit in map(_limit, _CGROUPS) if limit is not None)])


def limit_memory(nbytes: int) -> None:
    """Allocations beyond `nbytes` of private memory fail from now on, whether they would be touched or not.

    Mapped files (weights) and shared memory do not count. A lower limit that is set already stays.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = min([nbytes, *(limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def lift_memory_limit() -> None:
    """For the end of the process, which must not fail for want of a thread's stack."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))


def _limit(file: Path) -> int | None:
    try:
        text = file.read_text("ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None  # "max": none
