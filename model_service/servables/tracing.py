"""Tracing of a new graph in a process of its own, so that torch's memory goes with it.

Run as `python -m model_service.servables.tracing FILE ARCH CACHE`: traces that architecture's graph for FILE's
configuration into the graph cache. A typed error is one line of JSON on standard output and exit status 3.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from kit import errors
from kit.errors import HeliographError, Internal, TooSlow
from model_service.archs.registry import detect
from model_service.graphs.options import GraphOptions
from model_service.graphs.store import GraphStore
from model_service.weights.reader import read_header

_TYPED = 3
_SHOWN = 2000


def trace_apart(path: Path, arch_id: str, cache: Path, options: GraphOptions, timeout_s: float) -> None:
    """Fill the cache with the graph. Raises what tracing raises, TooSlow, Internal with the end of its output."""
    command = (
        sys.executable, "-m", "model_service.servables.tracing", str(path), arch_id, str(cache), options.tag,
    )  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise TooSlow(
            "tracing a graph took too long", reason="TRACE_DEADLINE", arch=arch_id, limit_s=timeout_s
        ) from error
    if done.returncode == _TYPED:
        raise _typed(done.stdout.splitlines()[-1])
    if done.returncode:
        raise Internal("tracing a graph failed", arch=arch_id, status=done.returncode, cause=done.stderr[-_SHOWN:])


def trace(path: Path, arch_id: str, cache: Path, options: GraphOptions) -> None:
    """The same in this process."""
    component = next(one for one in detect(read_header(path)) if one.arch.id == arch_id)
    GraphStore(cache).graph_for(component.arch, component.config, options)


def _typed(line: str) -> HeliographError:
    values = json.loads(line)
    kind = getattr(errors, values["type"])
    found: HeliographError = kind(values["message"], reason=values["reason"], **values["facts"])
    return found


def main() -> int:
    path, arch_id, cache, tag = sys.argv[1:]
    try:
        trace(Path(path), arch_id, Path(cache), GraphOptions(portable=tag == GraphOptions(portable=True).tag))
    except HeliographError as error:
        told = {"type": type(error).__name__, "message": error.message, "reason": error.reason, "facts": error.facts}
        print(json.dumps(told))
        return _TYPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
