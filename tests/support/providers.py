"""Processes that provide nodes, and a front with a worker before them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import run_service_pb2 as pb

from orchestrator.app.front import builtin_catalogue
from orchestrator.app.loop import Worker
from orchestrator.app.settings import WorkerSettings
from orchestrator.app.worker import build_executor, connect_providers
from orchestrator.clients.front import FrontLink
from tests.support.fronts import Running, running_front

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def provider_process(port: int, folder: Path, command: list[str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A provider; killed at the end."""
    address = f"127.0.0.1:{port}"
    command = command or [sys.executable, "-m", "tests.support.provider_nodes", address, str(folder)]
    path = os.pathsep.join([str(ROOT / "protos/py"), str(ROOT)])
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class Ended:
    """A run that has ended."""

    run_id: str
    state: int
    events: list[Any]
    outputs: dict[str, Any]

    def of(self, kind: str) -> list[Any]:
        """Events of one kind."""
        return [getattr(event, kind) for event in self.events if event.WhichOneof("event") == kind]

    @property
    def failure(self) -> Any:
        """The one RunFailed."""
        (found,) = self.of("failed")
        return found

    @property
    def succeeded(self) -> bool:
        return self.state == event_pb2.RUN_STATE_SUCCEEDED

    @property
    def executed(self) -> list[str]:
        """Nodes that ran."""
        return [event.node_id for event in self.of("executing")]


@dataclass
class Place:
    """A front with a worker."""

    front: Running
    data: Path
    executor: Any

    async def submit(self, prompt: dict[str, Any]) -> str:
        return (await self.front.submit(json.dumps(prompt).encode())).run_id

    async def run(self, prompt: dict[str, Any]) -> Ended:
        run_id = await self.submit(prompt)
        events = await asyncio.wait_for(self.front.ended(run_id), 40)
        run = await self.front.run(run_id)
        return Ended(run_id, run.state, events, json.loads(run.outputs_json or b"{}"))

    async def object_info(self, node_type: str) -> Any:
        answer = await self.front.runs.ListNodeTypes(pb.ListNodeTypesRequest(node_type=node_type))
        return json.loads(answer.object_info_json)

    async def knows(self, node_type: str) -> None:
        """Until front and worker know the class."""
        async with asyncio.timeout(20):
            while node_type not in self.front.front.nodes.catalogue():
                await asyncio.sleep(0.01)


@asynccontextmanager
async def place(tmp_path: Path, providers: str, **settings: Any) -> AsyncIterator[Place]:
    """Front and worker with the built-in nodes and these providers; no model service."""
    builtin = builtin_catalogue()
    front_settings = {name: value for name, value in settings.items() if name in ("node_check_s",)}
    async with running_front(tmp_path / "data", builtin, node_providers=providers, **front_settings) as front:
        chosen = WorkerSettings.load(
            data_dir=tmp_path / "data", node_providers=providers, model_address="127.0.0.1:1", **settings
        )
        executor = build_executor(chosen)
        connect_providers(executor, chosen)
        stop = asyncio.Event()
        worker = Worker(FrontLink(front.channel, "w", heartbeat_s=0.5), executor, drain_s=0, patience_s=5)
        task = asyncio.create_task(worker.work(stop))
        try:
            yield Place(front, tmp_path / "data", executor)
        finally:
            stop.set()
            await task
            await asyncio.to_thread(executor.engine.close)
            await executor.nodes.close()
            executor.models.close()
