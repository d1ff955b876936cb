"""Real-time scheduling that a library asked for behind our back, taken back."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_TASKS = Path("/proc/self/task")


def leave_real_time() -> None:
    """Every thread of this process is scheduled as usual again.

    SVT-AV1, run as root, makes the thread that opens it and all of its own real-time ones of the highest priority, and
    whatever they start inherits that: two busy threads then keep a machine of two cores from anybody else.
    """
    real_time = (getattr(os, "SCHED_FIFO", None), getattr(os, "SCHED_RR", None))
    if None in real_time or not _TASKS.is_dir():
        return  # other systems than Linux
    for task in _TASKS.iterdir():
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            if os.sched_getscheduler(int(task.name)) & ~os.SCHED_RESET_ON_FORK in real_time:
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
