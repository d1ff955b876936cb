"""`python -m bench [NAME ...]`: run the benchmarks named, or all of them."""

from __future__ import annotations

import importlib
import sys

from bench.report import show

BENCHES = {
    "engine": "The exact engine against torch eager",
    "prepare": "From a file to a servable",
    "first_picture": "From submission to the first picture of a cold checkpoint",
    "overhead": "One step through a server over the bare engine call",
    "latency": "From submit to the first node",
    "startup": "From `heliograph up` to the first answer",
    "prompts": "Model-free prompts per second",
    "polling": "What pollers wait for while runs are queued",
}


def main(names: list[str]) -> int:
    """Returns 0, or 2 for an unknown name."""
    if unknown := [name for name in names if name not in BENCHES]:
        print(f"unknown: {' '.join(unknown)}; there are: {' '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names or list(BENCHES):
        show(BENCHES[name], importlib.import_module(f"bench.{name}").measure())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
