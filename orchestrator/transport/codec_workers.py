"""Leases and reports <-> protobuf, both ways: the front and the worker speak through this one module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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


def encode_reports(
    happened: Sequence[Happened], last: Attach | Heartbeat | Outcome | None = None
) -> pb.ReportRunRequest:
    """What a worker says, in one message: events, then `last`; an attach comes before them."""
    message = pb.ReportRunRequest()
    for each in happened:
        encode_body(each.body, message.events.add(timestamp_ms=each.timestamp_ms))
    match last:
        case Attach():
            message.attach.CopyFrom(pb.Attach(lease_id=last.lease_id, run_id=last.run_id))
        case Heartbeat():
            message.heartbeat.SetInParent()
        case Outcome():
            outcome = pb.RunOutcome(
                state=encode_state(last.state), outputs_json=last.outputs_json, meta_json=last.meta_json
            )
            message.outcome.CopyFrom(outcome)
    return message


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
            yield _outcome(request.outcome)
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
