"""Leases and reports <-> protobuf, both ways: the front and the worker speak through this one module."""

from __future__ import annotations

from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import worker_service_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.runs.records import FreeRequest, LeaseOffer, Outcome, RunRecord, RunState
from orchestrator.runs.reporting import Attach, Directive, Happened, Heartbeat, Report
from orchestrator.transport.codec_events import decode_body, encode_body, encode_state


def encode_offer(offer: LeaseOffer) -> pb.LeaseRunResponse:
    """Answer to a worker that asks for work."""
    run = offer.run
    lease = None
    if run is not None:
        lease = pb.Lease(
            lease_id=run.lease_id,
            run_id=run.run_id,
            attempt=run.attempts,
            prompt_json=run.prompt_json,
            extra_data_json=run.extra_data_json,
            outputs_to_execute=run.outputs_to_execute,
            client_id=run.client_id,
        )
    return pb.LeaseRunResponse(lease=lease, unload_models=offer.free.unload_models, free_memory=offer.free.free_memory)


def decode_offer(response: pb.LeaseRunResponse) -> LeaseOffer:
    """The worker's view of it; what a worker is not told of a run is empty."""
    free = FreeRequest(response.unload_models, response.free_memory)
    if not response.HasField("lease"):
        return LeaseOffer(None, free)
    lease = response.lease
    run = RunRecord(
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
    return LeaseOffer(run, free)


def encode_report(report: Report) -> pb.ReportRunRequest:
    """What a worker says."""
    match report:
        case Attach():
            return pb.ReportRunRequest(attach=pb.Attach(lease_id=report.lease_id, run_id=report.run_id))
        case Happened():
            message = pb.ReportRunRequest(event=event_pb2.RunEvent(timestamp_ms=report.timestamp_ms))
            encode_body(report.body, message.event)
            return message
        case Heartbeat():
            return pb.ReportRunRequest(heartbeat=pb.Heartbeat())
        case Outcome():
            outcome = pb.RunOutcome(
                state=encode_state(report.state),
                outputs_json=report.outputs_json,
                meta_json=report.meta_json,
            )
            return pb.ReportRunRequest(outcome=outcome)


def decode_report(request: pb.ReportRunRequest) -> Report:
    """What a worker says. Raises InvalidRequest."""
    match request.WhichOneof("report"):
        case "attach":
            return Attach(request.attach.run_id, request.attach.lease_id)
        case "event":
            return Happened(decode_body(request.event), request.event.timestamp_ms)
        case "heartbeat":
            return Heartbeat()
        case "outcome":
            return _outcome(request.outcome)
        case other:
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


def decode_directive(response: pb.ReportRunResponse) -> Directive | None:
    """What the front says; None: something a later front may say."""
    known = {"attached": Directive.ATTACHED, "cancel": Directive.CANCEL, "outcome_stored": Directive.STORED}
    return known.get(response.WhichOneof("directive") or "")


def _outcome(message: pb.RunOutcome) -> Outcome:
    try:
        state = RunState(message.state)
    except ValueError:
        raise InvalidRequest("an outcome must name its state", reason="BAD_REPORT", state=message.state) from None
    if state is RunState.RUNNING:
        raise InvalidRequest("an outcome must be an end", reason="BAD_REPORT", state=state.name)
    return Outcome(state, message.outputs_json or b"{}", message.meta_json or b"{}")
