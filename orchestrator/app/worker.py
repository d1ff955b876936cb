"""A worker process: leases runs from the front and executes them; killing it loses no run."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import socket
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version

import grpc

from kit import telemetry
from kit.memory import limit_memory
from kit.serve import calm_collector, channel_options, run_service, stop_event_on_signals
from orchestrator.app.executor import EngineExecutor
from orchestrator.app.logs import start_logging
from orchestrator.app.loop import Worker
from orchestrator.app.settings import MIB, WorkerSettings
from orchestrator.clients.artifact_paths import Areas
from orchestrator.clients.artifacts import LocalArtifacts
from orchestrator.clients.front import FrontLink
from orchestrator.clients.models import GrpcModels, ModelClientOptions
from orchestrator.clients.provider_calls import Deadlines
from orchestrator.clients.provider_nodes import NodeSet
from orchestrator.engine.cache import ResultCache
from orchestrator.engine.run import Engine
from orchestrator.nodes.catalogue import builtin_nodes

_LOG = logging.getLogger("heliograph.worker")

_DISK_THREADS = 8  # the file system takes what several wait for in one go

# What nodes import when they first run (torch among it); most used first.
_WARM = (
    "torch",
    "orchestrator.nodes.picture_file",
    "orchestrator.nodes.encoding",
    "orchestrator.nodes.denoising",
    "orchestrator.nodes.autoencode",
    "orchestrator.nodes.resize",
    "orchestrator.nodes.latent_file",
)


def build_executor(settings: WorkerSettings) -> EngineExecutor:
    """Engine, cache, clients and nodes of one worker; opens no connection yet."""
    salt = f"{version('heliograph')}:{settings.serving}"
    nodes = NodeSet(builtin_nodes())
    engine = Engine(
        nodes,
        ResultCache(settings.cache_mib * MIB),
        cpu_slots=settings.cpu_slots,
        salt=salt,
        debug=settings.debug_errors,
    )
    models = GrpcModels(ModelClientOptions(settings.model_address, shared_memory=settings.shared_memory))
    artifacts = LocalArtifacts(Areas(settings.data_dir))
    disk = ThreadPoolExecutor(_DISK_THREADS, "disk")
    return EngineExecutor(engine, nodes, models, artifacts, disk, {"previews": settings.previews})


def connect_providers(executor: EngineExecutor, settings: WorkerSettings) -> None:
    """Looks for services that bring nodes of their own; inside the event loop."""
    deadlines = Deadlines(settings.node_timeout_s, settings.node_check_s)
    executor.nodes.connect(settings.provider_addresses, deadlines, settings.shared_memory)


async def serve(settings: WorkerSettings) -> None:
    """Works until SIGTERM or SIGINT."""
    stop = stop_event_on_signals()
    executor = build_executor(settings)
    connect_providers(executor, settings)
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    async with grpc.aio.insecure_channel(settings.front_address, options=channel_options()) as channel:
        link = FrontLink(channel, worker_id, heartbeat_s=settings.heartbeat_s)
        worker = Worker(link, executor, drain_s=settings.worker_drain_s, patience_s=settings.outcome_patience_s)
        warming = asyncio.create_task(asyncio.to_thread(_warm))
        _LOG.info("worker %s asks %s for work", worker_id, settings.front_address)
        await worker.work(stop)
        await warming
    await asyncio.to_thread(executor.engine.close)
    executor.disk.shutdown()
    await executor.nodes.close()
    executor.models.close()


def _warm() -> None:
    for name in _WARM:
        importlib.import_module(name)
    calm_collector()


def main() -> None:
    """`python -m orchestrator.app.worker`"""
    settings = WorkerSettings.load()
    start_logging(settings.log_level)
    limit_memory(settings.worker_memory_bytes)
    # Imports in the background must not keep the event loop waiting for the interpreter.
    sys.setswitchinterval(0.001)
    telemetry.start("worker", settings.telemetry, settings.telemetry_endpoint)
    run_service(serve(settings))
    telemetry.stop()


if __name__ == "__main__":
    main()
