"""The front process: accepts runs, keeps them, hands them to workers, tells what happens. Loads no torch."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from dataclasses import dataclass
from importlib.resources import files

import grpc

from kit import telemetry
from kit.serve import AioServer, aio_server, calm_collector, channel_options, run_service, stop_event_on_signals
from orchestrator.app.logs import start_logging
from orchestrator.app.settings import MIB, FrontSettings
from orchestrator.app.system import Installation
from orchestrator.clients.artifact_paths import Areas
from orchestrator.clients.artifacts import LocalArtifacts
from orchestrator.clients.model_lists import ModelLists
from orchestrator.clients.providers import NodeCatalogue
from orchestrator.graph.catalogue import Catalogue, load
from orchestrator.runs.board import Limits
from orchestrator.runs.intake import Intake
from orchestrator.runs.journal import Journal
from orchestrator.runs.runs import Runs
from orchestrator.transport.artifact_service import ArtifactServicer
from orchestrator.transport.run_service import RunServicer
from orchestrator.transport.services import front_services
from orchestrator.transport.worker_service import WorkerServicer

_LOG = logging.getLogger("heliograph.front")


@dataclass(frozen=True)
class Front:
    """A running front."""

    server: AioServer
    runs: Runs
    stopping: asyncio.Event
    model_channel: grpc.aio.Channel
    nodes: NodeCatalogue

    async def stop(self, grace_s: float) -> None:
        """Ends watches and reports, gives other calls `grace_s` seconds, closes the store; running runs stay leased."""
        self.stopping.set()
        self.runs.stop_watching()
        await self.runs.leasing.close()
        await self.server.stop(grace_s)
        await self.runs.close()
        await self.nodes.close()
        await self.model_channel.close(None)


async def start_front(settings: FrontSettings, catalogue: Catalogue | None = None) -> Front:
    """Opens the store, binds the address and answers. Raises Conflict (STORE_TAKEN), Unready (ADDRESS_IN_USE)."""
    journal = Journal(settings.data_dir / "heliograph.db")
    areas = Areas(settings.data_dir)
    artifacts = LocalArtifacts(areas)
    areas.create()
    artifacts.clear_temp()
    runs = await Runs.open(journal, secrets.token_hex(8), _limits(settings))
    channel = grpc.aio.insecure_channel(settings.model_address, options=channel_options())
    lists = ModelLists(channel, artifacts, settings.model_timeout_s)
    builtin = catalogue if catalogue is not None else builtin_catalogue()
    nodes = NodeCatalogue(builtin, settings.provider_addresses, settings.node_check_s)
    intake = Intake(runs, nodes, lists, lambda: time.time_ns() // 1_000_000)
    stopping = asyncio.Event()
    services = front_services(
        RunServicer(runs, intake, Installation(nodes.catalogue, lists, runs.leasing)),
        WorkerServicer(runs.leasing.lines, stopping),
        ArtifactServicer(artifacts, settings.max_upload_mib * MIB),
    )
    server = aio_server(settings.front_address, services, service="front")
    await server.start()
    await server.ready(("", *services))
    return Front(server, runs, stopping, channel, nodes)


def builtin_catalogue() -> Catalogue:
    """The built-in nodes, from the file that their declarations were written into."""
    return load(files("orchestrator.graph").joinpath("builtin_nodes.json").read_bytes())


def _limits(settings: FrontSettings) -> Limits:
    return Limits(
        queue=settings.queue_limit,
        queue_bytes=settings.queue_mib * MIB,
        history=settings.history_limit,
        heartbeat_s=settings.lease_s,
        reattach_s=settings.reattach_s,
    )


async def serve(settings: FrontSettings) -> None:
    """Answers until SIGTERM or SIGINT."""
    stop = stop_event_on_signals()
    front = await start_front(settings)
    calm_collector()
    _LOG.info("front answers on port %d", front.server.port)
    await stop.wait()
    await front.stop(settings.front_drain_s)


def main() -> None:
    """`python -m orchestrator.app.front`"""
    settings = FrontSettings.load()
    start_logging(settings.log_level)
    telemetry.start("front", settings.telemetry, settings.telemetry_endpoint)
    run_service(serve(settings))
    telemetry.stop()


if __name__ == "__main__":
    main()
