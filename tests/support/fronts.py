"""A real front in this process, with scripted nodes, and workers beside it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from heliograph.artifact.v1 import artifact_service_pb2_grpc
from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc, worker_service_pb2_grpc

from kit.serve import channel_options
from orchestrator.app.front import Front, start_front
from orchestrator.app.loop import Worker
from orchestrator.app.settings import FrontSettings
from orchestrator.clients.front import FrontLink
from orchestrator.graph.catalogue import Catalogue
from tests.support.scripted import CATALOGUE, Scripted


@dataclass
class Running:
    """A front, stubs for it, and what was started beside it."""

    front: Front
    channel: grpc.aio.Channel
    runs: run_service_pb2_grpc.RunServiceAsyncStub = field(init=False)
    workers: worker_service_pb2_grpc.WorkerServiceAsyncStub = field(init=False)
    artifacts: artifact_service_pb2_grpc.ArtifactServiceAsyncStub = field(init=False)

    def __post_init__(self) -> None:
        self.runs = run_service_pb2_grpc.RunServiceStub(self.channel)  # type: ignore[assignment]
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)  # type: ignore[assignment]
        self.artifacts = artifact_service_pb2_grpc.ArtifactServiceStub(self.channel)  # type: ignore[assignment]

    async def submit(self, prompt: bytes, **fields: Any) -> pb.SubmitRunResponse:
        return await self.runs.SubmitRun(pb.SubmitRunRequest(prompt_json=prompt, **fields))

    async def ended(self, run_id: str) -> list[Any]:
        """All events of a run, when it has ended."""
        return [answer.event async for answer in self.runs.WatchRun(pb.WatchRunRequest(run_id=run_id))]

    async def run(self, run_id: str) -> pb.Run:
        return (await self.runs.GetRun(pb.GetRunRequest(run_id=run_id))).run

    async def history(self) -> list[pb.Run]:
        return list((await self.runs.ListHistory(pb.ListHistoryRequest())).runs)


@asynccontextmanager
async def running_front(data_dir: Path, catalogue: Catalogue = CATALOGUE, **settings: Any) -> AsyncIterator[Running]:
    """A front on a free port; the model service's address leads nowhere unless named."""
    values = {"front_address": "127.0.0.1:0", "model_address": "127.0.0.1:1", "data_dir": data_dir, **settings}
    front = await start_front(FrontSettings.load(**values), catalogue)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{front.server.port}", options=channel_options()) as channel:
        yield Running(front, channel)
    await front.stop(0)


@asynccontextmanager
async def running_worker(running: Running, executor: Any = None) -> AsyncIterator[Scripted]:
    """A worker's loop in this process, over gRPC."""
    executor = executor or Scripted()
    stop = asyncio.Event()
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{running.front.server.port}", options=channel_options()
    ) as channel:
        link = FrontLink(channel, uuid.uuid4().hex, heartbeat_s=0.5)
        task = asyncio.create_task(Worker(link, executor, drain_s=0, patience_s=5).work(stop))
        try:
            yield executor
        finally:
            stop.set()
            await task
