"""From starting `heliograph up` until `/queue` answers, beside the start of a bare web framework."""

from __future__ import annotations

import subprocess
import sys
import time

from bench.report import Row, median
from bench.service import service

ROUNDS = 3


def measure() -> list[Row]:
    """Median of a few starts on a warm disk."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        with service():
            ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        subprocess.run((sys.executable, "-c", "import fastapi, uvicorn, grpc"), check=True)
        bare.append(time.perf_counter() - begun)
    note = f"median of {ROUNDS}; baseline: a Python that imports fastapi, uvicorn and grpc"
    return [Row("up to the first answer", median(ours), median(bare), "s", note)]
