"""What goes over the wire comes back equal, event by event and report by report."""

from __future__ import annotations

from typing import get_args

import pytest
from heliograph.graph.v1 import worker_service_pb2

from kit.errors import InvalidRequest
from orchestrator.engine import events as ev
from orchestrator.ports import PreviewImage
from orchestrator.runs.events import Body, Ended, QueueChanged, Resumed, RunEvent
from orchestrator.runs.records import FreeRequest, LeaseOffer, Outcome, RunState
from orchestrator.runs.reporting import Attach, Directive, Happened, Heartbeat
from orchestrator.transport import codec_events, codec_workers
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
    message = codec_workers.encode_reports([Happened(body, 17)])
    assert list(codec_workers.decode_reports(message)) == [Happened(body, 17)]
    alone = worker_service_pb2.ReportRunRequest(event=message.events[0])
    assert list(codec_workers.decode_reports(alone)) == [Happened(body, 17)]
    sent = codec_events.encode_event(RunEvent("r", 5, "c", 17, "e", body))
    assert (sent.run_id, sent.sequence, sent.client_id, sent.timestamp_ms, sent.epoch) == ("r", 5, "c", 17, "e")
    assert codec_events.decode_body(sent) == body


@pytest.mark.parametrize("body", [QueueChanged(2), Ended(RunState.FAILED), Resumed(2)])
def test_the_fronts_own_events_are_sent_but_not_believed(body: Body) -> None:
    sent = codec_events.encode_event(RunEvent("r", 1, "", 0, "e", body))
    assert sent.WhichOneof("event")
    with pytest.raises(InvalidRequest):
        codec_events.decode_body(sent)


@pytest.mark.parametrize(
    "last",
    [Attach("r", "l"), Heartbeat(), Outcome(RunState.SUCCEEDED, b'{"1": {}}', b"{}"), Outcome(RunState.PENDING)],
)
def test_reports_come_back_equal_and_in_their_order(last: Attach | Heartbeat | Outcome) -> None:
    happened = [Happened(body, number) for number, body in enumerate(BODIES)]
    order = [last, *happened] if isinstance(last, Attach) else [*happened, last]
    assert list(codec_workers.decode_reports(codec_workers.encode_reports((), last))) == [last]
    assert list(codec_workers.decode_reports(codec_workers.encode_reports(happened, last))) == order
    assert list(codec_workers.decode_reports(codec_workers.encode_reports(happened))) == happened


def test_bad_reports_are_refused() -> None:
    message = codec_workers.encode_reports((), Outcome(RunState.SUCCEEDED))
    for state in (0, 2):
        message.outcome.state = state  # type: ignore[assignment]
        with pytest.raises(InvalidRequest):
            list(codec_workers.decode_reports(message))
    message.ClearField("outcome")
    with pytest.raises(InvalidRequest):
        list(codec_workers.decode_reports(message))


@pytest.mark.parametrize("directive", list(Directive))
def test_directives_come_back_equal(directive: Directive) -> None:
    assert codec_workers.decode_directive(codec_workers.encode_directive(directive)) is directive


def test_offers_tell_a_worker_what_it_needs() -> None:
    run = record(
        "r", lease_id="l", attempts=2, client_id="c", prompt_json=b'{"a": 1}', outputs_to_execute=("1", "2"),
        state=RunState.RUNNING,
    )  # fmt: skip
    got = codec_workers.decode_offer(codec_workers.encode_offer(LeaseOffer(run, FreeRequest(True, False))))
    assert got.free == FreeRequest(True, False) and got.run is not None
    for name in ("run_id", "lease_id", "attempts", "client_id", "prompt_json", "extra_data_json", "outputs_to_execute"):
        assert getattr(got.run, name) == getattr(run, name)
    assert codec_workers.decode_offer(codec_workers.encode_offer(LeaseOffer(None, FreeRequest()))).run is None
