"""Leases and reports <-> protobuf, both ways: the front and the worker speak through this one module."""

from __future__ import annotations

from collections.abc import Iterator

from heliograph.graph.v1 import worker_service_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.runs.records import LeaseOffer, Outcome, RunRecord, RunState
from orchestrator.runs.reporting import Directive
from orchestrator.runs.reports import Attach, Happened, Heartbeat, Report
from orchestrator.transport.codec_events import decode_body


def encode_offer(offer: LeaseOffer) -> pb.LeaseRunResponse:
    """Answer to a worker that asks for work."""
    lease = None if offer.run is None else encode_lease(offer.run)
    return pb.LeaseRunResponse(lease=lease, unload_models=offer.free.unload_models, free_memory=offer.free.free_memory)


def encode_lease(run: RunRecord) -> pb.Lease:
    """A run for a worker; one that is lent ahead is still pending and will be begun once more."""
    return pb.Lease(
        lease_id=run.lease_id,
        run_id=run.run_id,
        attempt=run.attempts + (run.state is RunState.PENDING),
        prompt_json=run.prompt_json,
        extra_data_json=run.extra_data_json,
        outputs_to_execute=run.outputs_to_execute,
        client_id=run.client_id,
    )


def decode_lease(lease: pb.Lease) -> RunRecord:
    """The worker's view of it; what a worker is not told of a run is empty."""
    return RunRecord(
        run_id=lease.run_id,
        order=0,
        number=0.0,
        number_given=False,
        prompt_json=lease.prompt_json,
        extra_data_json=lease.extra_data_json,
        client_id=lease.client_id,
        outputs_to_execute=tuple(lease.outputs_to_execute),
        node_errors_json=b"",
        body_hash=b"",
        created_ms=0,
        state=RunState.RUNNING,
        attempts=lease.attempt,
        lease_id=lease.lease_id,
    )


def decode_reports(request: pb.ReportRunRequest) -> Iterator[Report]:
    """What a worker says, in order. Raises InvalidRequest."""
    kind = request.WhichOneof("report")
    if kind == "attach":
        yield Attach(request.attach.run_id, request.attach.lease_id)
    for event in request.events:
        yield Happened(decode_body(event), event.timestamp_ms)
    match kind:
        case "attach":
            return
        case "event":
            yield Happened(decode_body(request.event), request.event.timestamp_ms)
        case "heartbeat":
            yield Heartbeat()
        case "outcome":
            yield decode_outcome(request.outcome)
        case other:
            if not request.events:
                raise InvalidRequest("a report is empty", reason="BAD_REPORT", report=other)


def encode_directive(directive: Directive) -> pb.ReportRunResponse:
    """What the front says."""
    match directive:
        case Directive.ATTACHED:
            return pb.ReportRunResponse(attached=pb.Attached())
        case Directive.CANCEL:
            return pb.ReportRunResponse(cancel=pb.CancelDirective())
        case Directive.STORED:
            return pb.ReportRunResponse(outcome_stored=pb.OutcomeStored())


def decode_outcome(message: pb.RunOutcome) -> Outcome:
    """How a run ended. Raises InvalidRequest."""
    try:
        state = RunState(message.state)
    except ValueError:
        raise InvalidRequest("an outcome must name its state", reason="BAD_REPORT", state=message.state) from None
    if state is RunState.RUNNING:
        raise InvalidRequest("an outcome must be an end", reason="BAD_REPORT", state=state.name)
    return Outcome(state, message.outputs_json or b"{}", message.meta_json or b"{}")
