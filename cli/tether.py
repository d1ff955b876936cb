"""Become another command that ends with its parent: `python tether.py PARENT_PID COMMAND...`.

Run by path in a bare interpreter, so it imports nothing of ours. Asking the kernel from here instead of from a
`preexec_fn` keeps the supervisor from forking: a fork of a process in which gRPC has threads can crash before the
command starts.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The kernel sends SIGTERM when the parent dies without a word, so that no service is left holding its port."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel was asked
        raise SystemExit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
