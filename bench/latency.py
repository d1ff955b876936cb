"""From SubmitRun to the first node's `executing` event at a watcher, one run at a time on an idle worker."""

from __future__ import annotations

import json
import threading
import time

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc

from bench.report import Row, median, percentile
from bench.service import model_free, service

WARM_UP = 20
RUNS = 200
LIMIT_S = 30.0


class _Watcher(threading.Thread):
    """Notes when each run's first node began and when it ended."""

    def __init__(self, stub: runs_grpc.RunServiceStub) -> None:
        super().__init__(daemon=True)
        self._call = stub.WatchRuns(runs.WatchRunsRequest(bursts=True))
        self._changed = threading.Condition()
        self._first: dict[str, float] = {}
        self._ended: set[str] = set()

    def run(self) -> None:
        try:
            for answer in self._call:
                now = time.perf_counter()
                with self._changed:
                    for event in answer.events:
                        kind = event.WhichOneof("event")
                        if kind == "executing":
                            self._first.setdefault(event.run_id, now)
                        elif kind == "ended":
                            self._ended.add(event.run_id)
                            self._changed.notify_all()
        except grpc.RpcError:
            return  # the benchmark is over and its channel closed

    def first_node_at(self, run_id: str) -> float:
        """Waits for the run's end."""
        with self._changed:
            if not self._changed.wait_for(lambda: run_id in self._ended, LIMIT_S):
                raise TimeoutError(f"{run_id} did not end within {LIMIT_S:g} s")
            return self._first[run_id]


def measure() -> list[Row]:
    """p50 and p99, each beside a bare gRPC round trip to the same process."""
    with service() as stack, grpc.insecure_channel(stack.front) as channel:
        stub = runs_grpc.RunServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        watcher = _Watcher(stub)
        watcher.start()
        waits, trips = [], []
        for number in range(WARM_UP + RUNS):
            begun = time.perf_counter()
            health.Check(health_pb2.HealthCheckRequest(), timeout=LIMIT_S)
            submitted = time.perf_counter()
            prompt = json.dumps(model_free(number)).encode()
            receipt = stub.SubmitRun(runs.SubmitRunRequest(prompt_json=prompt), timeout=LIMIT_S)
            first = watcher.first_node_at(receipt.run_id)
            if number >= WARM_UP:
                trips.append((submitted - begun) * 1e3)
                waits.append((first - submitted) * 1e3)
    note = f"{RUNS} runs, one at a time; baseline: a gRPC round trip"
    return [
        Row("submit to first node, p50", median(waits), median(trips), "ms", note),
        Row("submit to first node, p99", percentile(waits, 0.99), percentile(trips, 0.99), "ms", note),
    ]
