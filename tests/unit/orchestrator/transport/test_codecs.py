"""What goes over the wire comes back equal, event by event and report by report."""

from __future__ import annotations

from typing import get_args

import pytest
from heliograph.graph.v1 import event_pb2, worker_service_pb2

from kit.errors import InvalidRequest
from orchestrator.engine import events as ev
from orchestrator.ports import PreviewImage
from orchestrator.runs.events import Body, Ended, QueueChanged, Resumed, RunEvent
from orchestrator.runs.line import Hello, LeaseReport, Orders, Said
from orchestrator.runs.records import FreeRequest, Outcome, RunState
from orchestrator.runs.reports import Attach, Happened
from orchestrator.transport import codec_events, codec_lines
from tests.support.runs import record

STATE = ev.NodeState("1", 0.5, 2.0, False, "1", "", "1")
BODIES: list[Body] = [
    ev.Started(),
    ev.Cached(()),
    ev.Cached(("2", "1")),
    ev.NodeStates(()),
    ev.NodeStates((STATE, ev.NodeState("2", 1, 1, True, "2", "p", "r"))),
    ev.Executing("1", "d"),
    ev.Progress("1", 3.0, 20.0),
    ev.Executed("1", "d", None),
    ev.Executed("1", "d", {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}], "animated": [True]}),
    ev.Previewed("1", "d", "p", "r", PreviewImage("image/png", b"\x89PNG")),
    ev.Succeeded(),
    ev.Failed("1", "K", ("2",), "boom\n", "ValueError", ("line",), {"seed": [1, 2.5, None]}, ("3",), "R", {"a": "b"}),
    ev.Interrupted("", "", ()),
    ev.Interrupted("1", "K", ("2", "3")),
]


def test_every_kind_of_event_is_here() -> None:
    assert {type(body) for body in BODIES} == set(get_args(ev.Event))


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_a_workers_events_come_back_equal(body: Body) -> None:
    said = Said(reports=(LeaseReport("l", True, (Happened(body, 17),)),))
    message = codec_lines.encode_said(said)
    assert codec_lines.decode_said(message) == said
    sent = codec_events.encode_event(RunEvent("r", 5, "c", 17, "e", body))
    assert (sent.run_id, sent.sequence, sent.client_id, sent.timestamp_ms, sent.epoch) == ("r", 5, "c", 17, "e")
    assert codec_events.decode_body(sent) == body


@pytest.mark.parametrize("body", [QueueChanged(2), Ended(RunState.FAILED), Resumed(2)])
def test_the_fronts_own_events_are_sent_but_not_believed(body: Body) -> None:
    sent = codec_events.encode_event(RunEvent("r", 1, "", 0, "e", body))
    assert sent.WhichOneof("event")
    with pytest.raises(InvalidRequest):
        codec_events.decode_body(sent)


HAPPENED = tuple(Happened(body, number) for number, body in enumerate(BODIES))


@pytest.mark.parametrize(
    "said",
    [
        Said(),
        Said(Hello("w", 7), leaving=True),
        Said(Hello("w", 0, (Attach("r", "l"), Attach("s", "m")))),
        Said(None, (LeaseReport("l", True, HAPPENED, Outcome(RunState.SUCCEEDED, b'{"1": {}}', b"{}")),), ("x", "y")),
        Said(None, (LeaseReport("l", False, (), Outcome(RunState.PENDING)), LeaseReport("m", True))),
    ],
)
def test_what_a_worker_says_comes_back_equal(said: Said) -> None:
    assert codec_lines.decode_said(codec_lines.encode_said(said)) == said


def test_what_a_worker_is_told_comes_back_equal() -> None:
    orders = Orders([], ["a"], ["b", "c"], ["d"], ["e"], FreeRequest(False, True))
    assert codec_lines.decode_orders(codec_lines.encode_orders(orders)) == orders
    assert not codec_lines.decode_orders(codec_lines.encode_orders(Orders()))


def test_bad_reports_are_refused() -> None:
    pb = worker_service_pb2
    for state in (event_pb2.RUN_STATE_UNSPECIFIED, event_pb2.RUN_STATE_RUNNING):
        outcome = pb.RunOutcome(state=state)
        with pytest.raises(InvalidRequest):
            codec_lines.decode_said(pb.WorkRequest(reports=[pb.LeaseReport(lease_id="l", outcome=outcome)]))
    with pytest.raises(InvalidRequest):
        codec_lines.decode_said(pb.WorkRequest(reports=[pb.LeaseReport(events=[event_pb2.RunEvent()])]))


@pytest.mark.parametrize(("state", "attempt"), [(RunState.RUNNING, 2), (RunState.PENDING, 3)])
def test_offers_tell_a_worker_what_it_needs(state: RunState, attempt: int) -> None:
    run = record(
        "r", lease_id="l", attempts=2, client_id="c", prompt_json=b'{"a": 1}', outputs_to_execute=("1", "2"),
        state=state,
    )  # fmt: skip
    (got,) = codec_lines.decode_orders(codec_lines.encode_orders(Orders([run]))).leases
    assert (got.state, got.attempts) == (RunState.RUNNING, attempt)
    for name in ("run_id", "lease_id", "client_id", "prompt_json", "extra_data_json", "outputs_to_execute"):
        assert getattr(got, name) == getattr(run, name)
