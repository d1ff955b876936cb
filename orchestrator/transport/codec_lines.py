"""What goes over a worker's stream <-> protobuf, both ways: the front and the worker speak through this one module."""

from __future__ import annotations

from heliograph.graph.v1 import worker_service_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.runs.line import Hello, LeaseReport, Orders, Said
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState
from orchestrator.runs.reports import Attach, Happened
from orchestrator.transport.codec_events import decode_body, encode_body, encode_state


def encode_said(said: Said) -> pb.WorkRequest:
    """One message of a worker."""
    message = pb.WorkRequest(returned_lease_ids=said.returned, leaving=said.leaving)
    if said.hello is not None:
        message.hello.worker_id = said.hello.worker_id
        message.hello.ahead = said.hello.ahead
        for held in said.hello.held:
            message.hello.held.add(lease_id=held.lease_id, run_id=held.run_id)
    for report in said.reports:
        into = message.reports.add(lease_id=report.lease_id, begun=report.begun)
        for each in report.happened:
            encode_body(each.body, into.events.add(timestamp_ms=each.timestamp_ms))
        if (outcome := report.outcome) is not None:
            into.outcome.state = encode_state(outcome.state)
            into.outcome.outputs_json, into.outcome.meta_json = outcome.outputs_json, outcome.meta_json
    return message


def decode_said(message: pb.WorkRequest) -> Said:
    """One message of a worker. Raises InvalidRequest."""
    hello = None
    if message.HasField("hello"):
        held = tuple(Attach(each.run_id, each.lease_id) for each in message.hello.held)
        hello = Hello(message.hello.worker_id, message.hello.ahead, held)
    reports = tuple(map(_report, message.reports))
    return Said(hello, reports, tuple(message.returned_lease_ids), message.leaving)


def encode_orders(orders: Orders) -> pb.WorkResponse:
    """One message to a worker."""
    return pb.WorkResponse(
        leases=map(_encode_lease, orders.leases),
        cancelled_lease_ids=orders.cancelled,
        recalled_lease_ids=orders.recalled,
        stored_lease_ids=orders.stored,
        lost_lease_ids=orders.lost,
        unload_models=orders.free.unload_models,
        free_memory=orders.free.free_memory,
    )


def decode_orders(message: pb.WorkResponse) -> Orders:
    """One message to a worker."""
    return Orders(
        leases=list(map(_decode_lease, message.leases)),
        cancelled=list(message.cancelled_lease_ids),
        recalled=list(message.recalled_lease_ids),
        stored=list(message.stored_lease_ids),
        lost=list(message.lost_lease_ids),
        free=FreeRequest(message.unload_models, message.free_memory),
    )


def _report(message: pb.LeaseReport) -> LeaseReport:
    happened = tuple(Happened(decode_body(event), event.timestamp_ms) for event in message.events)
    outcome = _outcome(message.outcome) if message.HasField("outcome") else None
    return LeaseReport(message.lease_id, message.begun, happened, outcome)


def _encode_lease(run: RunRecord) -> pb.Lease:
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


def _decode_lease(lease: pb.Lease) -> RunRecord:
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


def _outcome(message: pb.RunOutcome) -> Outcome:
    """How a run ended. Raises InvalidRequest."""
    try:
        state = RunState(message.state)
    except ValueError:
        raise InvalidRequest("an outcome must name its state", reason="BAD_REPORT", state=message.state) from None
    if state is RunState.RUNNING:
        raise InvalidRequest("an outcome must be an end", reason="BAD_REPORT", state=state.name)
    return Outcome(state, message.outputs_json or b"{}", message.meta_json or b"{}")
