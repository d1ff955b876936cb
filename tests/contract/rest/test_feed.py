"""The one event stream: it survives breaks and restarts of the front without losing or repeating anything."""

from __future__ import annotations

import json
from typing import Any

from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph
from websockets.sync.client import ClientConnection

from kit.errors import Busy, NotFound, Unready
from tests.contract.rest.served import WAIT_S, Served, running_bridge
from tests.support.fake_front import fake_server


def said(client: ClientConnection) -> Any:
    """The next text message."""
    return json.loads(client.recv(timeout=WAIT_S))


def step(node_id: str) -> events.RunEvent:
    """The run is at a node."""
    return events.RunEvent(run_id="run", client_id="mine", executing=events.NodeExecuting(node_id=node_id))


def next_node(client: ClientConnection) -> Any:
    """Node of the next message but for `status`, which comes whenever the queue was compared."""
    message = said(client)
    while message["type"] == "status":
        message = said(client)
    assert message["type"] == "executing", message
    return message["data"]["node"]


def finished(run_id: str = "run") -> graph.Run:
    """A stored, finished run."""
    told = [["execution_start", {"prompt_id": run_id}], ["execution_success", {"prompt_id": run_id, "timestamp": 5}]]
    return graph.Run(run_id=run_id, state=events.RUN_STATE_SUCCEEDED, messages_json=json.dumps(told).encode())


def test_a_broken_stream_goes_on_where_it_was(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        alone.on_loop(lambda: backend.emit(step("1"), step("2")))
        assert [next_node(client) for _ in range(2)] == ["1", "2"]
        backend.watch_extra.extend(backend.events)  # a front that repeats what was delivered
        backend.running.append(graph.Run(run_id="run"))
        alone.on_loop(lambda: (backend.break_streams(Unready("going down")), backend.emit(step("3"))))
        assert next_node(client) == "3"
        alone.on_loop(lambda: backend.emit(step("4")))
        assert next_node(client) == "4"
    assert [(r.after_sequence, r.epoch) for r in backend.watch_requests[:2]] == [(0, ""), (2, "epoch-1")]


def test_a_new_front_is_followed_from_its_first_event(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        alone.on_loop(lambda: backend.emit(step("1"), step("2"), step("3")))
        assert [next_node(client) for _ in range(3)] == ["1", "2", "3"]
        backend.running.append(graph.Run(run_id="run"))

        def restart() -> None:
            backend.break_streams(Unready("gone"))
            backend.restart("epoch-2")
            backend.emit(step("4"))  # sequence 1 again

        alone.on_loop(restart)
        assert next_node(client) == "4"


def test_a_run_that_ended_unseen_is_ended_for_its_client(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        alone.on_loop(lambda: backend.emit(step("1")))
        assert next_node(client) == "1"

        def restart() -> None:
            backend.break_streams(Unready("gone"))
            backend.restart("epoch-2")
            backend.history.append(finished())

        alone.on_loop(restart)
        assert said(client) == {"type": "execution_success", "data": {"prompt_id": "run", "timestamp": 5}}
        assert said(client) == {"type": "executing", "data": {"node": None, "prompt_id": "run"}}
        assert alone.request("GET", "/history/run").json["run"]["status"]["completed"] is True
        late = events.RunEvent(run_id="run", client_id="mine", ended=events.RunEnded())
        mark = events.RunEvent(queue_changed=events.QueueChanged(remaining=8))
        alone.on_loop(lambda: backend.emit(late, mark))
        assert said(client)["type"] == "status"  # not ended twice


def test_events_that_are_gone(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        alone.on_loop(lambda: backend.emit(step("1")))
        assert next_node(client) == "1"
        backend.running.append(graph.Run(run_id="run"))

        def lose() -> None:
            backend.break_streams(Busy("too slow", reason="WATCHER_TOO_SLOW"))
            backend.fail["WatchRuns"] = NotFound("gone", reason="EVENTS_GONE")

        alone.on_loop(lose)
        alone.until(lambda: any(name == "WatchRuns" and r.epoch for name, r in backend.calls))
        alone.on_loop(lambda: backend.fail.clear())
        alone.until(lambda: bool(backend.watchers))
        assert backend.watch_requests[-1].epoch == ""
        alone.on_loop(lambda: backend.emit(step("5")))
        assert next_node(client) == "5"


def test_an_event_nobody_can_read_does_not_end_the_stream(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        broken = events.RunEvent(run_id="run", client_id="mine", executed=events.NodeExecuted(output_json=b"{"))
        alone.on_loop(lambda: backend.emit(broken, step("2")))
        assert next_node(client) == "2"


def test_history_answers_when_the_end_mark_arrives(alone: Served) -> None:
    backend = alone.backend
    alone.watched()
    with alone.socket("mine") as client:
        said(client)

        def end() -> None:
            backend.history.append(finished())
            backend.emit(step("1"), events.RunEvent(run_id="run", client_id="mine", ended=events.RunEnded()))

        alone.on_loop(end)
        assert [next_node(client) for _ in range(2)] == ["1", None]
        assert "run" in alone.request("GET", "/history/run").json


def test_a_bridge_without_a_front_answers_and_waits_for_it() -> None:
    with running_bridge(with_front=False) as served:
        answer = served.request("GET", "/queue")
        assert answer.status == 503 and "retry-after" in answer.headers
        assert answer.json["error"]["type"] == "backend_down"
        assert served.fakes_address not in answer.body.decode()
        with served.socket("mine") as client:
            assert said(client)["data"]["sid"] == "mine"
            assert served.request("GET", "/").status == 200

            async def start() -> None:
                served.front = fake_server(served.backend, served.fakes_address)
                await served.front.start()

            served.wait_on_loop(start())
            served.watched()
            served.on_loop(lambda: served.backend.emit(step("1")))
            assert next_node(client) == "1"
            assert served.request("GET", "/queue").json == {"queue_running": [], "queue_pending": []}
