"""`heliograph up`: start every service as a process of its own and keep them running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from kit.errors import InvalidRequest, Unready
from kit.settings import KitSettings

MAX_BACKOFF_S = 15.0
STABLE_S = 20.0
# Longer than the services' own limits, within which they end by themselves.
WORKER_DRAIN_S = 30.0
DRAIN_S = 20.0
TETHER = Path(__file__).with_name("tether.py")
TRITON_LAUNCHER = Path(__file__).resolve().parents[1] / "deploy" / "triton" / "serve.py"


class UpSettings(KitSettings):
    """`heliograph up`: what it starts beside our own services."""

    custom_nodes: str = Field(
        "", description="Paths of ComfyUI's node packs, or of folders of packs, with : between; each gets a process"
    )

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of `custom_nodes`, in order."""
        return tuple(Path(path) for path in self.custom_nodes.split(os.pathsep) if path.strip())


@dataclass
class Service:
    """One supervised process: restarted with growing pauses when it dies."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    backoff_s: float = 0.25
    restart_at: float = 0.0
    restarts: int = field(default=0)

    def start(self, now: float) -> None:
        """Start it in a session of its own, so that Ctrl-C in the terminal reaches only the supervisor."""
        # Isolated and without site-packages: the bare interpreter takes milliseconds, and no other tether is found.
        tethered = (sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *self.command)
        self.process = subprocess.Popen(tethered, env=self.environment, start_new_session=True)
        self.started_at = now

    def check(self, now: float, say: Callable[[str], None]) -> None:
        """Notice a death, and start again when its pause is over."""
        if self.process is not None and (status := self.process.poll()) is not None:
            if now - self.started_at > STABLE_S:
                self.backoff_s = 0.25
            say(f"{self.name} ended with status {status}; starting it again in {self.backoff_s:g} s")
            self.process, self.restart_at = None, now + self.backoff_s
            self.backoff_s = min(self.backoff_s * 2, MAX_BACKOFF_S)
            self.restarts += 1
        if self.process is None and now >= self.restart_at:
            self.start(now)


def services(
    workers: int, serving: str, external_triton: bool = False, custom_nodes: Sequence[Path] = ()
) -> list[Service]:
    """What runs on one machine, in the order in which it is started."""
    if serving not in ("embedded", "triton"):
        raise InvalidRequest("serving is either embedded or triton", serving=serving)
    environment = {**os.environ, "HELIOGRAPH_SERVING": serving}
    hosts = _hosts(custom_nodes, environment)
    python = sys.executable
    found = [
        Service("front", (python, "-m", "orchestrator.app.front"), environment),
        Service("bridge", (python, "-m", "rest_bridge.app.main"), environment),
        # One BLAS thread: the engine has threads of its own, and more only spin against them.
        Service("models", (python, "-m", "model_service.app.main"), environment | {"OPENBLAS_NUM_THREADS": "1"}),
        *(
            Service(f"worker-{index}", (python, "-m", "orchestrator.app.worker"), environment)
            for index in range(workers)
        ),
    ]
    if serving == "triton" and not external_triton:
        if not TRITON_LAUNCHER.exists() or not TRITON_LAUNCHER.parents[2].joinpath(".venv-triton").is_dir():
            raise Unready("no Triton is installed here: run `make triton-install`, or name one with --external-triton")
        found.insert(2, Service("triton", (python, str(TRITON_LAUNCHER)), environment))
    return found + hosts


def _hosts(paths: Sequence[Path], environment: dict[str, str]) -> list[Service]:
    """A process for each path; front and workers get their addresses by the environment."""
    from cli.nodes import host_command

    every = [*UpSettings.load().paths, *paths]
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(len(every))]
    hosts = [
        Service(f"nodes-{path.name}", host_command([path], address), environment)
        for path, address in zip(every, addresses)
    ]
    if hosts:
        others = environment.get("HELIOGRAPH_NODE_PROVIDERS", "")
        environment["HELIOGRAPH_NODE_PROVIDERS"] = ",".join([*filter(None, [others]), *addresses])
    return hosts


def _free_ports(count: int) -> list[int]:
    """Distinct ones; a host that finds its own taken meanwhile ends, and is started again once it is free."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def run_services(workers: int, serving: str, external_triton: bool = False, custom_nodes: Sequence[Path] = ()) -> int:
    """Supervise until SIGINT or SIGTERM, then drain; returns the exit status."""
    running = services(workers, serving, external_triton, custom_nodes)
    stop = False

    def request_stop(_signal: int, _frame: object) -> None:
        nonlocal stop
        stop = True

    signal.signal(signal.SIGINT, request_stop)
    signal.signal(signal.SIGTERM, request_stop)
    rest = f"{os.environ.get('HELIOGRAPH_REST_HOST', '127.0.0.1')}:{os.environ.get('HELIOGRAPH_REST_PORT', '8188')}"
    _say(f"REST and WebSocket on http://{rest}, gRPC on {os.environ.get('HELIOGRAPH_FRONT_ADDRESS', '127.0.0.1:8189')}")
    while not stop:
        now = time.monotonic()
        for service in running:
            service.check(now, _say)
        time.sleep(0.1)
    return _drain(running)


def _drain(running: list[Service]) -> int:
    """Ask every service to finish, then insist: workers first, so that the front can store how their runs stand."""
    workers = [service for service in running if service.name.startswith("worker")]
    others = [service for service in running if service not in workers]
    return max(_end(workers, WORKER_DRAIN_S), _end(others, DRAIN_S))


def _end(ending: list[Service], limit_s: float) -> int:
    processes = [(service.name, service.process) for service in ending if service.process is not None]
    for _, process in processes:
        process.terminate()
    deadline = time.monotonic() + limit_s
    status = 0
    for name, process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _say(f"{name} did not stop within {limit_s:g} s; killing it")
            process.kill()
            process.wait()
            status = 1
    return status


def _say(text: str) -> None:
    print(f"heliograph: {text}", file=sys.stderr, flush=True)
