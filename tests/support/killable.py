"""Real processes to be killed: a front and workers with scripted nodes, on ports and folders of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc

from kit.serve import channel_options

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass
class Stack:
    """Starts, kills and questions the processes of one installation."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        """What nodes ran: lines of run id, attempt, node, process, time."""
        return self.folder / "journal.txt"

    def start(self, role: str) -> subprocess.Popen[bytes]:
        own = {
            "HELIOGRAPH_DATA_DIR": str(self.folder / "data"),
            "HELIOGRAPH_FRONT_ADDRESS": f"127.0.0.1:{self.port}",
            "HELIOGRAPH_MODEL_ADDRESS": "127.0.0.1:1",
            "HELIOGRAPH_HEARTBEAT_S": "0.2",
            "HELIOGRAPH_REATTACH_S": "8",
            "SCRIPTED_JOURNAL": str(self.journal),
            **self.settings,
        }
        with (self.folder / f"{role}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.processes", role], cwd=ROOT, stderr=log, env={**os.environ, **own}
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(10)

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options=channel_options())

    def ran(self, run_id: str) -> list[tuple[int, str]]:
        """(attempt, node) of a run, in the order they began."""
        lines = self.journal.read_text().split("\n") if self.journal.exists() else []
        fields = [line.split() for line in lines if line]
        return [(int(entry[1]), entry[2]) for entry in fields if entry[0] == run_id]


class Client:
    """Calls that wait for a front that is away."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = run_service_pb2_grpc.RunServiceStub(channel)

    async def submit(self, prompt: bytes, prompt_id: str, **fields: Any) -> pb.SubmitRunResponse:
        """Repeats itself until the answer arrives, as a careful client does."""
        request = pb.SubmitRunRequest(prompt_json=prompt, prompt_id=prompt_id, **fields)
        return await self._insist(lambda: self.stub.SubmitRun(request, wait_for_ready=True))

    async def run(self, run_id: str) -> pb.Run:
        request = pb.GetRunRequest(run_id=run_id)
        return (await self._insist(lambda: self.stub.GetRun(request, wait_for_ready=True))).run

    async def history(self) -> list[pb.Run]:
        request = pb.ListHistoryRequest()
        return list((await self._insist(lambda: self.stub.ListHistory(request, wait_for_ready=True))).runs)

    async def ended(self, run_id: str) -> pb.Run:
        """Waits for the end, whatever happens to the front meanwhile."""
        while (run := await self.run(run_id)).ended_ms == 0:
            await asyncio.sleep(0.02)
        return run

    async def begun(self, stack: Stack, run_id: str, node_id: str, attempt: int = 1) -> None:
        """Waits until a node of a run has begun."""
        while (attempt, node_id) not in stack.ran(run_id):
            await asyncio.sleep(0.01)

    @staticmethod
    async def _insist(call: Any) -> Any:
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as problem:
                if problem.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0.02)
