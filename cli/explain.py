"""`heliograph explain`: what a workflow would do here, in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from heliograph.graph.v1 import run_service_pb2 as runs
from heliograph.graph.v1 import run_service_pb2_grpc as runs_grpc
from rich.console import Console

from cli.run import CALL_DEADLINE_S, read_workflow
from kit.serve import channel_options
from kit.status import from_rpc_error


def explain_workflow(path: Path, *, server: str) -> int:
    """Prints it; returns 0 where the workflow would be accepted, 1 where not."""
    with grpc.insecure_channel(server, options=channel_options()) as channel:
        found = explained(runs_grpc.RunServiceStub(channel), read_workflow(path))
    console = Console()
    for line in _lines(found, json.loads(found.prompt_json)):
        console.print(line, highlight=False, markup=False)
    return 1 if found.refusal_json else 0


def explained(stub: runs_grpc.RunServiceStub, workflow: dict[str, Any]) -> runs.ExplainRunResponse:
    """The service's explanation. Raises its typed error."""
    request = runs.ExplainRunRequest(workflow_json=json.dumps(workflow).encode())
    try:
        return stub.ExplainRun(request, timeout=CALL_DEADLINE_S)
    except grpc.RpcError as problem:
        raise from_rpc_error(problem) from problem


def _lines(found: runs.ExplainRunResponse, prompt: dict[str, Any]) -> Iterator[str]:
    for node in found.missing_nodes:
        yield f"missing node  {node.node_id}: {node.class_type}{_near(node.nearest)}"
    for file in found.missing_files:
        place = "upload it, or use --upload" if file.folder == "input" else f"belongs into {file.folder}/"
        yield f"missing file  {file.node_id}.{file.input}: {file.name} ({place}){_near(file.nearest)}"
    if found.refusal_json:
        refusal = json.loads(found.refusal_json)
        yield f"would be refused: {refusal['error']['message']}"
        for node_id, errors in refusal["node_errors"].items():
            for error in errors["errors"]:
                yield f"  {node_id} {errors['class_type']}: {error['message']}: {error['details']}"
        return
    cached = set(found.recent)
    for node_id in found.needed:
        node_type = prompt[node_id]["class_type"]
        yield f"{'cached' if node_id in cached else 'runs  '}  {node_id}: {node_type}"
    unknown = f", without {', '.join(found.unmeasured)} (never run here)" if found.unmeasured else ""
    yield f"about {found.seconds:.1f} s{unknown}; model files of {found.model_bytes / 2**20:,.0f} MiB"


def _near(names: Any) -> str:
    return f"; near: {', '.join(names)}" if names else ""
