"""Runs <-> protobuf."""

from __future__ import annotations

from heliograph.graph.v1 import run_service_pb2 as pb

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


def decode_free(request: pb.FreeMemoryRequest) -> FreeRequest:
    """What to let go of."""
    return FreeRequest(request.unload_models, request.free_memory)
