"""The servers that must behave alike: our embedded one in this process, and a real Triton."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from tritonclient.grpc.service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

from kit.serve import sync_server
from model_service.runtime.engine import OrtEngine
from model_service.servables.calls import Calls, Lane, Runnable
from model_service.servables.repository import RepositoryWriter, Servable, TritonOptions
from model_service.servables.residency import Candidate, Residency
from model_service.servables.statistics import Statistics
from model_service.servables.triton import TritonControl
from model_service.transport.kserve import SERVICE, KServeServicer
from model_service.transport.regions import Regions
from tests.contract.kserve.networks import Network, PlainModel

ROOT = Path(__file__).resolve().parents[3]
TEMPLATES = ROOT / "triton_repo"
BUDGET = 1 << 40


class Served(Protocol):
    """A server under test; `publish` makes a network known, which a client then may load."""

    @property
    def address(self) -> str: ...
    def publish(self, network: Network) -> None:
        """As Prepare does before loading."""


@dataclass
class Embedded:
    """Our server."""

    address: str
    residency: Residency[Runnable]

    def publish(self, network: Network) -> None:
        def opened() -> Runnable:
            return PlainModel(network.recipe) if network.plain else OrtEngine().open(network.recipe)

        self.residency.admit(Candidate(network.name, "test", network.name, network.signature, 1, opened))


@contextmanager
def embedded() -> Iterator[Embedded]:
    """Our server on a free port."""
    residency: Residency[Runnable] = Residency(BUDGET)
    servicer = KServeServicer(Calls(residency, Lane(1), Statistics()), Regions(), lambda: True)
    register = partial(add_GRPCInferenceServiceServicer_to_server, servicer)
    server = sync_server("127.0.0.1:0", {SERVICE: register}, service="model", threads=16)
    server.start()
    server.ready()
    try:
        yield Embedded(f"127.0.0.1:{server.port}", residency)
    finally:
        server.stop(0)


@dataclass
class Triton:
    """A real Triton with its Python backend."""

    address: str
    writer: RepositoryWriter
    process: subprocess.Popen[bytes]
    log: Path = field(default=Path())

    def publish(self, network: Network) -> None:
        self.writer.write(Servable(network.name, network.signature, network.recipe))


@contextmanager
def triton(folder: Path) -> Iterator[Triton]:
    """A Triton on free ports; skips the test where it is not installed."""
    checked = subprocess.run(
        (ROOT / "deploy/triton/install.sh", "--check"), capture_output=True, text=True, check=False
    )
    if checked.returncode:
        pytest.skip(checked.stderr.strip())
    ports = _free_ports(3)
    repository, log = folder / "repository", folder / "triton.log"
    writer = RepositoryWriter(repository, TEMPLATES, TritonOptions())
    options = [f"--{name}-port={port}" for name, port in zip(("grpc", "http", "metrics"), ports, strict=True)]
    command = (sys.executable, str(ROOT / "deploy/triton/serve.py"), f"--repository={repository}", *options)
    with log.open("wb") as output:
        process = subprocess.Popen((*command, "--exit-timeout-s=1"), stdout=output, stderr=subprocess.STDOUT)
    address = f"127.0.0.1:{ports[0]}"
    control = TritonControl(address, start_s=45)
    try:
        control.wait_until_live()
        yield Triton(address, writer, process, log)
    finally:
        control.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for remains in Path("/dev/shm").glob(f"heliograph_triton_{ports[0]}_*"):  # of a server that was killed
            remains.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
