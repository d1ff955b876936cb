"""A careful client of a running stack: submits over REST, waits by WatchRun's events, reads history over REST."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import requests
from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc

from kit.serve import channel_options
from tests.support.stack import Stack

Graph = dict[str, Any]
RUN_LIMIT_S = 120.0
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN})
MODULES = {
    "front": "orchestrator.app.front",
    "worker": "orchestrator.app.worker",
    "models": "model_service.app.main",
    "bridge": "rest_bridge.app.main",
}


@dataclass(frozen=True)
class Asking:
    """One client of `stack`."""

    stack: Stack

    def post(self, path: str, **request: Any) -> requests.Response:
        return requests.post(self.stack.rest + path, timeout=60, **request)

    def get(self, path: str, **request: Any) -> requests.Response:
        return requests.get(self.stack.rest + path, timeout=60, **request)

    def prompt(self, graph: object, **more: Any) -> requests.Response:
        """POST /prompt as it is answered."""
        return self.post("/prompt", json={"prompt": graph, **more})

    def submit(self, graph: Graph, **more: Any) -> str:
        """The id of an accepted run."""
        answer = self.prompt(graph, **more)
        assert answer.status_code == 200, answer.text[:2000]
        return str(answer.json()["prompt_id"])

    def ended(self, run_id: str) -> dict[str, Any]:
        """Waits for the end, also over deaths of the front; the entry of the history."""
        for _ in self.events(run_id):
            pass
        return self.history(run_id)

    def history(self, run_id: str) -> dict[str, Any]:
        entry: dict[str, Any] = self._insist(f"/history/{run_id}").json()[run_id]
        return entry

    def events(self, run_id: str) -> Iterator[Any]:
        """Events of one run from its beginning; once more from its beginning where the front died meanwhile."""
        deadline = time.monotonic() + RUN_LIMIT_S
        while True:
            try:
                yield from self.watched(run_id, deadline - time.monotonic())
                return
            except grpc.RpcError as problem:
                if problem.code() not in _AWAY or time.monotonic() > deadline:
                    raise

    def watched(self, run_id: str, limit_s: float = RUN_LIMIT_S) -> Iterator[Any]:
        """One WatchRun call."""
        with grpc.insecure_channel(self.stack.front, options=channel_options()) as channel:
            stub = run_service_pb2_grpc.RunServiceStub(channel)
            request = pb.WatchRunRequest(run_id=run_id)
            for answer in stub.WatchRun(request, timeout=limit_s, wait_for_ready=True):
                yield answer.event

    def until(self, run_id: str, kind: str, count: int = 1) -> Any:
        """The `count`-th event of a kind, as soon as it happens; AssertionError if the run ends before."""
        seen = []
        for event in self.events(run_id):
            seen.append(event.WhichOneof("event"))
            if seen[-1] == kind and seen.count(kind) == count:
                return event
        raise AssertionError(f"the run ended without {kind}: {seen}")

    def run(self, graph: Graph, **more: Any) -> dict[str, Any]:
        return self.ended(self.submit(graph, **more))

    def succeed(self, graph: Graph, **more: Any) -> dict[str, Any]:
        """The outputs of a run that must succeed."""
        entry = self.run(graph, **more)
        assert entry["status"]["status_str"] == "success", entry["status"]["messages"][-1]
        outputs: dict[str, Any] = entry["outputs"]
        return outputs

    def fail(self, graph: Graph, **more: Any) -> tuple[dict[str, Any], Any]:
        """The `execution_error` of a run that must fail, and gRPC's RunFailed about the same."""
        run_id = self.submit(graph, **more)
        entry = self.ended(run_id)
        assert entry["status"]["status_str"] == "error" and entry["status"]["completed"] is False
        name, error = entry["status"]["messages"][-1]
        assert name == "execution_error", entry["status"]["messages"]
        failed = next(event.failed for event in self.events(run_id) if event.HasField("failed"))
        assert error["traceback"] == []
        assert error["exception_message"] == failed.exception_message
        return error, failed

    def pictures(self, outputs: dict[str, Any]) -> list[bytes]:
        """Bytes of all pictures of a run."""
        places = [place for shown in outputs.values() for place in shown.get("images", ())]
        return [self.get("/view", params=place).content for place in places]

    def queue(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = self.get("/queue").json()
        return found

    def _insist(self, path: str) -> requests.Response:
        """GET, repeated while the service is coming back."""
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = self.get(path)
                if answer.status_code == 200:
                    return answer
            except requests.RequestException:
                if time.monotonic() > deadline:
                    raise
            assert time.monotonic() < deadline, path
            time.sleep(0.05)


@contextmanager
def socket_of(stack: Stack, client_id: str | None = None) -> Iterator[Any]:
    """A connected WebSocket."""
    from websockets.sync.client import connect

    address = stack.rest.replace("http", "ws") + f"/ws?clientId={client_id or uuid.uuid4().hex}"
    with connect(address, max_size=None) as socket:
        yield socket


def message(socket: Any, *kinds: str) -> dict[str, Any]:
    """The data of the next text message of one of these kinds."""
    while True:
        text = socket.recv(timeout=RUN_LIMIT_S)
        if isinstance(text, str) and (found := json.loads(text))["type"] in kinds:
            data: dict[str, Any] = found["data"]
            return data


def process_ids(stack: Stack, role: str) -> list[int]:
    """The processes of a role ("front", "worker", "models", "bridge") below the stack's supervisor."""
    parent = stack.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if MODULES[role] in _command_of(child)]


def kill(stack: Stack, role: str) -> int:
    """kill -9 of the one process of a role; its id."""
    (victim,) = process_ids(stack, role)
    os.kill(victim, signal.SIGKILL)
    return victim


def replaced(stack: Stack, role: str, victim: int) -> int:
    """Waits until the supervisor has started another process of that role; its id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        living = [process for process in process_ids(stack, role) if process != victim]
        if living:
            return living[0]
        time.sleep(0.02)
    raise AssertionError(f"no other {role}")


def _command_of(process: str) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
