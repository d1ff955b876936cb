"""What pollers wait for while a run computes and 1,000 runs are queued: `/queue`, `/history/{id}`, `/object_info`."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import grpc
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc

from bench.report import Row, median, percentile
from bench.service import model_free, service

QUEUED = 1000
ROUNDS = 300
GZIP = {"Accept-Encoding": "gzip"}
LIMIT_S = 120.0


class _Feeder(threading.Thread):
    """Keeps the queue as long as it is while the worker computes."""

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self.stop = threading.Event()

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            stub = runs_grpc.RunServiceStub(channel)
            number = 0
            while not self.stop.is_set():
                count = stub.ListQueue(runs.ListQueueRequest(counts_only=True), timeout=LIMIT_S)
                for _ in range(QUEUED - count.pending_count):
                    number += 1
                    stub.SubmitRun(runs.SubmitRunRequest(prompt_json=_prompt(number)), timeout=LIMIT_S)
                self.stop.wait(0.25)


def _prompt(number: int) -> bytes:
    """A run that takes the worker some tenths of a second: a big picture inverted."""
    graph = model_free(number)
    graph["1"]["inputs"].update(width=2048, height=2048)  # type: ignore[index]  # as in bench.service
    graph["3"]["class_type"] = "PreviewImage"  # type: ignore[index]
    del graph["3"]["inputs"]["filename_prefix"]  # type: ignore[index]
    return json.dumps(graph).encode()


def measure() -> list[Row]:
    """p50 and p99 of each, beside `GET /features` in the same turns."""
    with service() as stack:
        done = _one_finished(stack.rest)
        feeder = _Feeder(stack.front)
        feeder.start()
        get = _getter(stack.rest)
        while len(json.loads(get("/queue", {}))["queue_pending"]) < QUEUED - 50:
            time.sleep(0.1)
        whats: dict[str, Callable[[], object]] = {
            "GET /features": lambda: get("/features", {}),
            "GET /queue": lambda: get("/queue", {}),
            "GET /history/{id}": lambda: get(f"/history/{done}", {}),
            "GET /prompt": lambda: get("/prompt", {}),
            "GET /object_info": lambda: get("/object_info", GZIP),
            "GET /api/jobs?limit=20": lambda: get("/api/jobs?limit=20", {}),
        }
        took: dict[str, list[float]] = {what: [] for what in whats}
        for _ in range(ROUNDS):
            for what, call in whats.items():
                begun = time.perf_counter()
                call()
                took[what].append((time.perf_counter() - begun) * 1e3)
        feeder.stop.set()
        feeder.join(LIMIT_S)
    base = took.pop("GET /features")
    note = f"{QUEUED} runs queued, one computing; baseline: GET /features"
    rows = []
    for what, values in took.items():
        rows.append(Row(f"{what}, p50", median(values), median(base), "ms", note))
        rows.append(Row(f"{what}, p99", percentile(values, 0.99), percentile(base, 0.99), "ms", note))
    return rows


def _getter(rest: str) -> Callable[[str, dict[str, str]], bytes]:
    """Calls over one connection."""
    address = urlsplit(rest)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=LIMIT_S)

    def get(path: str, headers: dict[str, str]) -> bytes:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}")
        return body

    return get


def _one_finished(rest: str) -> str:
    """Id of a run that has ended."""
    address = urlsplit(rest)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=LIMIT_S)
    connection.request("POST", "/prompt", json.dumps({"prompt": model_free(1)}))
    run_id = str(json.loads(connection.getresponse().read())["prompt_id"])
    get = _getter(rest)
    deadline = time.monotonic() + LIMIT_S
    while run_id not in json.loads(get(f"/history/{run_id}", {})):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no end within {LIMIT_S:g} s")
        time.sleep(0.02)
    return run_id
