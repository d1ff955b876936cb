"""Both servers, started once; every test of the suite runs against each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tritonclient.grpc as triton_grpc

from tests.contract.kserve import networks
from tests.contract.kserve.networks import Network
from tests.contract.kserve.servers import Served, embedded, triton


@dataclass(frozen=True)
class Bench:
    """A server under test, and the stock client connected to it."""

    kind: str
    server: Served
    client: triton_grpc.InferenceServerClient
    folder: Path

    def load(self, network: Network) -> str:
        """Publish and load; its name."""
        self.server.publish(network)
        self.client.load_model(network.name)
        return network.name


@pytest.fixture(scope="session", params=["embedded", pytest.param("triton", marks=pytest.mark.stack)])
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp(request.param)
    started = embedded() if request.param == "embedded" else triton(folder)
    with started as server:
        client = triton_grpc.InferenceServerClient(server.address)
        yield Bench(request.param, server, client, folder)
        client.close()


@pytest.fixture(scope="session")
def affine(bench: Bench) -> str:
    return bench.load(networks.affine(bench.folder))


@pytest.fixture(scope="session")
def slow(bench: Bench) -> str:
    return bench.load(networks.slow(bench.folder))
