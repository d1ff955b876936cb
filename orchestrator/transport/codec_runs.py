"""Runs <-> protobuf."""

from __future__ import annotations

import json
from dataclasses import replace

from heliograph.graph.v1 import run_service_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.runs.explain import Explanation
from orchestrator.runs.records import FreeRequest, HistoryOrder, Receipt, RunRecord, RunState, Selection, SubmitRequest
from orchestrator.transport.codec_events import encode_state
from orchestrator.transport.system import ObjectInfo


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
        workflow_id=run.workflow_id,
    )


def encode_bare_run(run: RunRecord) -> pb.Run:
    """A waiting or running run without what was submitted."""
    return encode_run(replace(run, prompt_json=b"", extra_data_json=b"", workflow_id=workflow_id(run.extra_data_json)))


def workflow_id(extra_data_json: bytes) -> str:
    """extra_data.extra_pnginfo.workflow.id as far as it is a text."""
    found: object = json.loads(extra_data_json) if b'"workflow"' in extra_data_json else None
    for key in ("extra_pnginfo", "workflow", "id"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""


def decode_selection(selection: pb.HistorySelection) -> Selection:
    """Which finished runs. Raises InvalidRequest (SELECTION)."""
    try:
        return Selection(
            tuple(map(RunState, selection.states)),
            selection.workflow_id if selection.HasField("workflow_id") else None,
            HistoryOrder(selection.order),
            selection.descending,
        )
    except ValueError as problem:
        raise InvalidRequest("no such state or order", reason="SELECTION", cause=problem) from problem


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


def encode_catalogue(info: ObjectInfo, request: pb.ListNodeTypesRequest) -> pb.ListNodeTypesResponse:
    """All node classes, unless the caller has them already."""
    if request.known_version == info.version:
        return pb.ListNodeTypesResponse(version=info.version)
    if request.gzipped:
        return pb.ListNodeTypesResponse(version=info.version, object_info_gzip=info.gzipped)
    return pb.ListNodeTypesResponse(version=info.version, object_info_json=info.text)
