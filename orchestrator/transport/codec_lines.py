"""What goes over a worker's stream <-> protobuf, both ways: the front and the worker speak through this one module."""

from __future__ import annotations

from heliograph.graph.v1 import worker_service_pb2 as pb

from orchestrator.runs.line import Hello, LeaseReport, Orders, Said
from orchestrator.runs.records import FreeRequest
from orchestrator.runs.reports import Attach, Happened
from orchestrator.transport.codec_events import decode_body, encode_body, encode_state
from orchestrator.transport.codec_workers import decode_lease, decode_outcome, encode_lease


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
        leases=map(encode_lease, orders.leases),
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
        leases=list(map(decode_lease, message.leases)),
        cancelled=list(message.cancelled_lease_ids),
        recalled=list(message.recalled_lease_ids),
        stored=list(message.stored_lease_ids),
        lost=list(message.lost_lease_ids),
        free=FreeRequest(message.unload_models, message.free_memory),
    )


def _report(message: pb.LeaseReport) -> LeaseReport:
    happened = tuple(Happened(decode_body(event), event.timestamp_ms) for event in message.events)
    outcome = decode_outcome(message.outcome) if message.HasField("outcome") else None
    return LeaseReport(message.lease_id, message.begun, happened, outcome)
