"""A run's events arrive at sockets as the recorded messages: same order, same keys in the same order, same values."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from heliograph.graph.v1 import event_pb2 as events
from websockets.sync.client import ClientConnection

from tests.contract.rest import recordings
from tests.contract.rest.recorded_events import PICTURE, events_of
from tests.contract.rest.served import WAIT_S, Served

SAMPLES = recordings.socket_samples()
OWN_RUNS = (
    "full_run_fresh",
    "full_run_all_cached",
    "partly_cached_one_node_changed",
    "runtime_error",
    "node_expansion_subgraph",
    "list_mapping",
    "lazy_inputs",
    "interrupted",
    "binary_previews_legacy_client",
    "save_image_websocket",
)


def read(client: ClientConnection, count: int) -> list[str | bytes]:
    """The next messages."""
    return [client.recv(timeout=WAIT_S) for _ in range(count)]


def described(frame: str | bytes) -> Any:
    """A frame in the recordings' terms; texts keep their key order."""
    if isinstance(frame, str):
        return json.loads(frame, object_pairs_hook=list)
    kind, second = struct.unpack(">II", frame[:8])
    if kind == 1:
        return {"event": 1, "image_type": second, "image": frame[8:]}
    return {"event": kind, "metadata": json.loads(frame[8 : 8 + second]), "image": frame[8 + second :]}


def wanted(message: dict[str, Any]) -> Any:
    """A recorded message in the same terms."""
    if not message.get("binary"):
        return json.loads(json.dumps({"type": message["type"], "data": message["data"]}), object_pairs_hook=list)
    if message["event"] == 1:
        return {"event": 1, "image_type": message["image_type"], "image": PICTURE}
    return {"event": 4, "metadata": message["metadata"], "image": PICTURE}


def expected(name: str) -> list[Any]:
    """A recorded log without text frames (event 3), which no event stands for yet."""
    return [wanted(message) for message in SAMPLES[name] if message.get("event") != 3]


@pytest.mark.parametrize("name", OWN_RUNS)
def test_the_submitting_client_gets_the_recorded_messages(name: str, alone: Served) -> None:
    alone.watched()
    with alone.socket("rec-client") as client:
        read(client, 1)
        alone.on_loop(lambda: alone.backend.emit(*events_of(SAMPLES[name], "rec-client")))
        want = expected(name)
        assert [described(frame) for frame in read(client, len(want))] == want


def test_a_client_with_flags_gets_previews_with_metadata_before_the_counter(alone: Served) -> None:
    name = "binary_previews_with_metadata"
    alone.watched()
    with alone.socket("rec-client") as client:
        read(client, 1)
        client.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
        answer = json.loads(client.recv(timeout=WAIT_S))
        assert answer == SAMPLES["connect_with_clientId_then_feature_flags"][1]
        alone.on_loop(lambda: alone.backend.emit(*events_of(SAMPLES[name], "rec-client")))
        want = expected(name)
        assert [described(frame) for frame in read(client, len(want))] == want


def test_another_client_sees_only_the_queue(alone: Served) -> None:
    alone.watched()
    with alone.socket("somebody-else") as client:
        read(client, 1)
        alone.on_loop(lambda: alone.backend.emit(*events_of(SAMPLES["full_run_fresh"], "rec-client")))
        want = expected("full_run_fresh_seen_by_other_client")
        alone.on_loop(lambda: alone.backend.emit(_last_mark()))
        frames = [described(frame) for frame in read(client, len(want) + 1)]
        assert frames == [*want, _last_status()]


def test_a_run_without_client_id_shows_counters_to_everybody(alone: Served) -> None:
    alone.watched()
    log = SAMPLES["prompt_without_client_id_seen_by_everyone"]
    run_id = log[2]["data"]["prompt_id"]
    quiet = [
        events.RunEvent(run_id=run_id, started=events.RunStarted()),
        events.RunEvent(run_id=run_id, executing=events.NodeExecuting(node_id="9")),
        events.RunEvent(run_id=run_id, executed=events.NodeExecuted(node_id="10")),
        events.RunEvent(run_id=run_id, succeeded=events.RunSucceeded()),
        events.RunEvent(run_id=run_id, ended=events.RunEnded()),
    ]
    with alone.socket("one") as one, alone.socket("two") as two:
        for client in (one, two):
            read(client, 1)
        alone.on_loop(lambda: alone.backend.emit(*events_of(log, ""), *quiet, _last_mark()))
        want = [*expected("prompt_without_client_id_seen_by_everyone"), _last_status()]
        for client in (one, two):
            assert [described(frame) for frame in read(client, len(want))] == want


def test_interruption_of_a_run_without_client_id_is_told_to_everybody(alone: Served) -> None:
    alone.watched()
    stopped = events.RunEvent(run_id="r", interrupted=events.RunInterrupted(node_id="2", node_type="KSampler"))
    with alone.socket("one") as client:
        read(client, 1)
        alone.on_loop(lambda: alone.backend.emit(stopped))
        assert json.loads(client.recv(timeout=WAIT_S))["type"] == "execution_interrupted"


def _last_mark() -> events.RunEvent:
    return events.RunEvent(queue_changed=events.QueueChanged(remaining=77))


def _last_status() -> Any:
    return wanted({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 77}}}})
