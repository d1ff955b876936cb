"""The whole service as a user starts it, on free ports and in folders of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
START_LIMIT_S = 90.0


@dataclass(frozen=True)
class Stack:
    """Addresses of a running service."""

    rest: str
    front: str
    models: str
    data: Path
    log: Path
    process: subprocess.Popen[bytes]


def free_ports(count: int) -> list[int]:
    """Distinct TCP ports that were free a moment ago."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def environment(models: Path, data: Path, ports: list[int]) -> dict[str, str]:
    """Settings of one stack; six ports: REST, front, models, Triton gRPC, HTTP, metrics."""
    rest, front, model, triton, triton_http, triton_metrics = ports
    return {
        **os.environ,
        "HELIOGRAPH_DATA_DIR": str(data),
        "HELIOGRAPH_MODELS_DIR": str(models),
        "HELIOGRAPH_REST_PORT": str(rest),
        "HELIOGRAPH_FRONT_ADDRESS": f"127.0.0.1:{front}",
        "HELIOGRAPH_MODEL_ADDRESS": f"127.0.0.1:{model}",
        "HELIOGRAPH_TRITON_ADDRESS": f"127.0.0.1:{triton}",
        "HELIOGRAPH_TRITON_HTTP_PORT": str(triton_http),
        "HELIOGRAPH_TRITON_METRICS_PORT": str(triton_metrics),
    }


@contextmanager
def running_stack(
    models: Path, folder: Path, *, serving: str = "embedded", extra: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """`heliograph up` until the block ends; the log stays in `folder` for whoever looks at a failure."""
    ports = free_ports(6)
    data = folder / "data"
    log = folder / "service.log"
    settings = environment(models, data, ports) | dict(extra or {})
    with log.open("wb") as output:
        process = subprocess.Popen(
            (sys.executable, "-m", "cli.main", "up", "--serving", serving),
            cwd=REPO,
            env=settings,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    stack = Stack(f"http://127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[2]}", data, log, process)
    try:
        wait_until_answering(stack)
        yield stack
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_answering(stack: Stack) -> None:
    """Until `/queue` answers; a service that died says why in its log."""
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if stack.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(stack.rest + "/queue", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise RuntimeError(f"the service did not answer\n{stack.log.read_text('utf-8', 'replace')[-4000:]}")
