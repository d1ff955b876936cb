"""Call Heliograph's gRPC API from another service: submit, watch events, download what came out.

python examples/submit_and_watch.py workflows/no-model.json [--server 127.0.0.1:8189] [--out pictures]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import grpc
from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from heliograph.artifact.v1 import artifact_service_pb2_grpc as artifact_grpc
from heliograph.graph.v1 import event_pb2 as event
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc


def main() -> int:
    """Returns 0 when the run succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workflow", type=Path)
    parser.add_argument("--server", default="127.0.0.1:8189")
    parser.add_argument("--out", type=Path, default=Path("pictures"))
    options = parser.parse_args()

    with grpc.insecure_channel(options.server) as channel:
        service = runs_grpc.RunServiceStub(channel)
        receipt = service.SubmitRun(runs.SubmitRunRequest(prompt_json=options.workflow.read_bytes()), timeout=30)
        print("accepted as", receipt.run_id)

        for answer in service.WatchRun(runs.WatchRunRequest(run_id=receipt.run_id), timeout=3600):
            kind = answer.event.WhichOneof("event")
            if kind == "progress":
                step = answer.event.progress
                print(f"node {step.node_id}: {step.value:g} of {step.max:g}")
            elif kind == "failed":
                print("failed:", answer.event.failed.exception_message)
            elif kind == "ended":
                break

        run = service.GetRun(runs.GetRunRequest(run_id=receipt.run_id), timeout=30).run
        options.out.mkdir(parents=True, exist_ok=True)
        store = artifact_grpc.ArtifactServiceStub(channel)
        for output in json.loads(run.outputs_json or b"{}").values():
            for item in output.get("images", []):
                reference = artifact.ArtifactRef(**item)
                chunks = store.DownloadArtifact(artifact.DownloadArtifactRequest(ref=reference), timeout=600)
                path = options.out / Path(item["filename"]).name
                path.write_bytes(b"".join(chunk.chunk for chunk in chunks))
                print("saved", path)
    return 0 if run.state == event.RUN_STATE_SUCCEEDED else 1


if __name__ == "__main__":
    raise SystemExit(main())
