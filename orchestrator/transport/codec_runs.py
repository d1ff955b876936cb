"""Runs <-> protobuf."""

from __future__ import annotations

import json

from heliograph.graph.v1 import run_service_pb2 as pb

from orchestrator.runs.explain import Explanation
from orchestrator.runs.records import FreeRequest, Receipt, RunRecord, SubmitRequest
from orchestrator.transport.codec_events import encode_state


def decode_submit(request: pb.SubmitRunRequest) -> SubmitRequest:
    """What a caller sends."""
    return SubmitRequest(
        prompt_json=request.prompt_json,
        extra_data_json=request.extra_data_json,
        client_id=request.client_id,
        prompt_id=request.prompt_id,
        number=request.number if request.HasField("number") else None,
        front=request.front,
        targets=tuple(request.partial_execution_targets) if request.targets_given else None,
    )


def encode_receipt(receipt: Receipt) -> pb.SubmitRunResponse:
    """Answer to a submission."""
    return pb.SubmitRunResponse(
        run_id=receipt.run_id,
        number=receipt.number,
        number_given=receipt.number_given,
        node_errors_json=receipt.node_errors_json,
    )


def encode_run(run: RunRecord) -> pb.Run:
    """A run as stored."""
    return pb.Run(
        run_id=run.run_id,
        number=run.number,
        number_given=run.number_given,
        prompt_json=run.prompt_json,
        extra_data_json=run.extra_data_json,
        outputs_to_execute=run.outputs_to_execute,
        state=encode_state(run.state),
        outputs_json=run.outputs_json,
        messages_json=run.messages_json,
        meta_json=run.meta_json,
        created_ms=run.created_ms,
        started_ms=run.started_ms,
        ended_ms=run.ended_ms,
        attempts=run.attempts,
    )


def decode_page(request: pb.ListHistoryRequest) -> tuple[int | None, int | None]:
    """(max_items, offset); None: not given."""
    return (
        request.max_items if request.HasField("max_items") else None,
        request.offset if request.HasField("offset") else None,
    )


def encode_explanation(found: Explanation, model_bytes: int) -> pb.ExplainRunResponse:
    """What a workflow would do."""
    return pb.ExplainRunResponse(
        prompt_json=json.dumps(found.graph.as_json()).encode(),
        refusal_json=b"" if found.refusal is None else json.dumps(dict(found.refusal)).encode(),
        missing_nodes=[
            pb.MissingNode(node_id=node.node_id, class_type=node.class_type, nearest=node.nearest)
            for node in found.missing_nodes
        ],
        missing_files=[
            pb.MissingFile(
                node_id=file.node_id, input=file.input, folder=file.folder, name=file.name, nearest=file.nearest
            )
            for file in found.missing_files
        ],
        needed=found.runs,
        recent=found.recent,
        seconds=found.seconds,
        unmeasured=found.unmeasured,
        model_bytes=model_bytes,
    )


def decode_free(request: pb.FreeMemoryRequest) -> FreeRequest:
    """What to let go of."""
    return FreeRequest(request.unload_models, request.free_memory)
