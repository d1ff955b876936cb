"""Ctrl-C at the worst moment: while the run is being submitted."""

from __future__ import annotations

import json
import signal
import threading
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from heliograph.graph.v1 import event_pb2 as event
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc

from cli.run import Changes, run_workflow


class _InterruptedWhileSubmitting(runs_grpc.RunServiceServicer):
    """Sends the main thread Ctrl-C before it answers; a run ends once it is cancelled, and leaves no history."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def SubmitRun(self, request: Any, context: Any) -> Any:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)
        return runs.SubmitRunResponse(run_id="one")

    def CancelRun(self, request: Any, context: Any) -> Any:
        assert list(request.run_ids) == ["one"]
        self.cancelled.set()
        return runs.CancelRunResponse()

    def WatchRun(self, request: Any, context: Any) -> Any:
        assert self.cancelled.wait(30)
        ended = event.RunEnded(state=event.RUN_STATE_INTERRUPTED)
        yield runs.WatchRunResponse(event=event.RunEvent(run_id="one", ended=ended))

    def GetRun(self, request: Any, context: Any) -> Any:
        context.abort(grpc.StatusCode.NOT_FOUND, "no such run")


def test_interrupt_while_submitting_cancels_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"1": {"class_type": "EmptyImage", "inputs": {}}}))
    servicer = _InterruptedWhileSubmitting()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    runs_grpc.add_RunServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        status = run_workflow(tmp_path / "a.json", Changes(), tmp_path, server=f"127.0.0.1:{port}", timeout_s=30)
    finally:
        server.stop(None).wait()
    assert status == 130 and servicer.cancelled.is_set()
