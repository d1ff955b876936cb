"""The front's services by full name, as `kit.serve` takes them."""

from __future__ import annotations

from collections.abc import Mapping

from heliograph.artifact.v1 import artifact_service_pb2_grpc
from heliograph.graph.v1 import run_service_pb2_grpc, worker_service_pb2_grpc

from kit.serve import Register
from orchestrator.transport.artifact_service import ArtifactServicer
from orchestrator.transport.run_service import RunServicer
from orchestrator.transport.worker_service import WorkerServicer


def front_services(runs: RunServicer, workers: WorkerServicer, artifacts: ArtifactServicer) -> Mapping[str, Register]:
    """Full service name to registration."""
    return {
        "heliograph.graph.v1.RunService": lambda server: run_service_pb2_grpc.add_RunServiceServicer_to_server(
            runs, server
        ),
        "heliograph.graph.v1.WorkerService": lambda server: worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(
            workers, server
        ),
        "heliograph.artifact.v1.ArtifactService": lambda server: (
            artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(artifacts, server)
        ),
    }
