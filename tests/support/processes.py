"""`python -m tests.support.processes front|worker`: the real processes with scripted nodes, settings as usual."""

from __future__ import annotations

import logging
import os
import sys
import uuid
from pathlib import Path

import grpc

from kit.serve import calm_collector, channel_options, run_service, stop_event_on_signals
from orchestrator.app.front import start_front
from orchestrator.app.loop import Worker
from orchestrator.app.settings import FrontSettings, WorkerSettings
from orchestrator.clients.front import FrontLink
from tests.support.scripted import CATALOGUE, Scripted


async def front() -> None:
    stop = stop_event_on_signals()
    settings = FrontSettings.load()
    running = await start_front(settings, CATALOGUE)
    calm_collector()
    await stop.wait()
    await running.stop(settings.front_drain_s)


async def worker() -> None:
    stop = stop_event_on_signals()
    settings = WorkerSettings.load()
    journal = os.environ.get("SCRIPTED_JOURNAL")
    async with grpc.aio.insecure_channel(settings.front_address, options=channel_options()) as channel:
        link = FrontLink(channel, uuid.uuid4().hex, heartbeat_s=settings.heartbeat_s)
        executor = Scripted(Path(journal) if journal else None)
        await Worker(link, executor, drain_s=settings.worker_drain_s, patience_s=settings.outcome_patience_s).work(stop)


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    run_service({"front": front, "worker": worker}[sys.argv[1]]())
