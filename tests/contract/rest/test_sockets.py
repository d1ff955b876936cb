"""Socket rules beyond the recorded logs: who is known under which id, late and slow clients, shutdown."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any

import pytest
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph
from websockets.asyncio.client import ClientConnection as AsyncConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from rest_bridge.app.settings import Settings
from rest_bridge.sockets import Outbox
from tests.contract.rest import recordings
from tests.contract.rest.served import WAIT_S, Served, running_bridge

SAMPLES = recordings.socket_samples()


def said(client: ClientConnection) -> Any:
    """The next text message."""
    return json.loads(client.recv(timeout=WAIT_S))


def executing(client_id: str, node_id: str, run_id: str = "run") -> events.RunEvent:
    """A run at a node."""
    return events.RunEvent(run_id=run_id, client_id=client_id, executing=events.NodeExecuting(node_id=node_id))


def preview(client_id: str, size: int, media_type: str = "image/jpeg") -> events.RunEvent:
    """A picture of that many bytes."""
    picture = events.Preview(node_id="3", media_type=media_type, image=b"p" * size)
    return events.RunEvent(run_id="run", client_id=client_id, preview=picture)


def queue(remaining: int) -> events.RunEvent:
    """A queue change."""
    return events.RunEvent(queue_changed=events.QueueChanged(remaining=remaining))


def test_the_first_message_tells_the_id_and_the_queue(served: Served) -> None:
    served.backend.pending.extend(graph.Run(run_id=str(index)) for index in range(3))
    with served.socket("mine") as client:
        want = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 3}}, "sid": "mine"}}
        assert said(client) == want
    with served.socket(path="/api/ws") as client:
        assert re.fullmatch("[0-9a-f]{32}", said(client)["data"]["sid"])


def test_a_client_that_comes_late_hears_where_its_run_is(alone: Served) -> None:
    alone.watched()
    with alone.socket("watcher") as watcher:
        said(watcher)
        alone.on_loop(lambda: alone.backend.emit(executing("mine", "1"), executing("mine", "2"), queue(5)))
        assert said(watcher)["data"]["status"]["exec_info"]["queue_remaining"] == 5
        alone.backend.running.extend(graph.Run(run_id=str(index)) for index in range(3))
        with alone.socket("mine") as client:
            first, second = said(client), said(client)
        want = [{**message} for message in SAMPLES["reconnect_same_clientId_while_running"]]
        want[0] = {"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 3}}, "sid": "mine"}}
        assert [first, second] == want
        with alone.socket("other") as client:
            said(client)
            alone.on_loop(lambda: alone.backend.emit(queue(1)))
            assert said(client)["type"] == "status"


def test_a_second_socket_of_an_id_takes_over(alone: Served) -> None:
    alone.watched()
    with alone.socket("mine") as old:
        said(old)
        with alone.socket("mine") as new:
            said(new)
            alone.on_loop(lambda: alone.backend.emit(executing("mine", "7")))
            assert said(new)["data"]["node"] == "7"
            with pytest.raises(TimeoutError):
                old.recv(timeout=0)
            old.close()
            alone.on_loop(lambda: alone.backend.emit(executing("mine", "8")))
            assert said(new)["data"]["node"] == "8"  # closing the old one does not silence the new one


def test_a_client_that_comes_back_gets_what_it_missed(alone: Served) -> None:
    alone.watched()
    with alone.socket("watcher") as watcher:
        said(watcher)
        with alone.socket("mine") as client:
            said(client)
            alone.on_loop(lambda: alone.backend.emit(executing("mine", "1")))
            assert said(client)["data"]["node"] == "1"
        for _ in range(3):  # time for the bridge to see that the client is gone
            alone.request("GET", "/queue")
        done = events.NodeExecuted(node_id="2", output_json=b'{"images": []}')
        counter = events.NodeProgress(node_id="2", value=1, max=2)
        alone.on_loop(
            lambda: alone.backend.emit(
                executing("mine", "2"),
                events.RunEvent(run_id="run", client_id="mine", progress=counter),
                preview("mine", 10),
                events.RunEvent(run_id="run", client_id="mine", executed=done),
                queue(1),
            )
        )
        assert said(watcher)["type"] == "status"
        with alone.socket("mine") as client:
            told = [said(client) for _ in range(4)]
            assert [message["type"] for message in told] == ["status", "executing", "executing", "executed"]
            assert told[1] == {"type": "executing", "data": {"node": "2"}}  # as recorded: where it is now
            assert told[2]["data"]["prompt_id"] == "run" and told[3]["data"]["output"] == {"images": []}
        ended = events.RunEvent(run_id="run", client_id="mine", ended=events.RunEnded())
        alone.on_loop(lambda: alone.backend.emit(ended, queue(0)))
        assert said(watcher)["type"] == "status"
        with alone.socket("mine") as client:
            said(client)
            assert said(client) == {"type": "executing", "data": {"node": None, "prompt_id": "run"}}


def test_five_hundred_clients_see_all_of_a_run_in_order_and_leave_nothing_behind(alone: Served) -> None:
    """One of them does not read: it holds nobody up."""
    count, steps = 500, 3
    alone.watched()

    def left_behind() -> tuple[int, int, int]:
        """Tasks, open files, outboxes."""
        gc.collect()
        outboxes = sum(type(thing) is Outbox for thing in gc.get_objects())
        return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), outboxes  # noqa: PTH208

    before = alone.on_loop(left_behind)

    async def one(index: int, stack: AsyncExitStack) -> AsyncConnection:
        address = f"ws://127.0.0.1:{alone.port}/ws?clientId=client-{index}"
        return await stack.enter_async_context(connect(address, open_timeout=WAIT_S, compression=None))

    def emit_all() -> None:
        """To everybody: counters of a run without a client. To each: a run of its own."""
        for step in range(steps):
            progress = events.NodeProgress(node_id="7", value=step, max=steps)
            own = [executing(f"client-{index}", str(step), f"run-{index}") for index in range(count)]
            alone.backend.emit(events.RunEvent(run_id="open", progress=progress), *own)
        ended = events.RunEnded(state=events.RUN_STATE_SUCCEEDED)
        over = [events.RunEvent(run_id=f"run-{i}", client_id=f"client-{i}", ended=ended) for i in range(count)]
        alone.backend.emit(events.RunEvent(run_id="open", ended=ended), *over, queue(0))

    async def talk() -> None:
        async with asyncio.timeout(50), AsyncExitStack() as stack:
            clients = [await one(index, stack) for index in range(count)]
            with deaf_client(alone.port, "deaf"):
                await asyncio.to_thread(alone.on_loop, emit_all)
                for index, client in enumerate(clients):
                    assert json.loads(await client.recv())["data"]["sid"] == f"client-{index}"
                    for step in range(steps):
                        counter, node = json.loads(await client.recv()), json.loads(await client.recv())
                        assert (counter["type"], counter["data"]["value"]) == ("progress", step)
                        assert node["data"] == {
                            "node": str(step),
                            "display_node": str(step),
                            "prompt_id": f"run-{index}",
                        }
                    assert json.loads(await client.recv())["data"] == {"node": None, "prompt_id": f"run-{index}"}
                    assert json.loads(await client.recv())["data"]["status"]["exec_info"] == {"queue_remaining": 0}

    asyncio.run(talk())
    alone.until(lambda: all(now <= then for now, then in zip(left_behind(), before, strict=True)))


def test_flags_count_in_the_first_text_only(alone: Served) -> None:
    alone.watched()
    flags = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
    with alone.socket("mine") as client:
        said(client)
        client.send("{broken")
        client.send(flags)
        alone.on_loop(lambda: alone.backend.emit(preview("mine", 3), queue(1)))
        assert said(client)["type"] == "status"
        alone.on_loop(lambda: alone.backend.emit(executing("mine", "9")))
        frame = client.recv(timeout=WAIT_S)
        assert isinstance(frame, bytes) and struct.unpack(">I", frame[:4]) == (1,)


def test_by_default_previews_go_to_clients_that_announced_them_and_results_to_all() -> None:
    """As ComfyUI, which makes no previews by default: clients of that time take every picture for a result."""
    default = Settings.model_fields["rest_legacy_previews"].default
    with running_bridge(rest_legacy_previews=default) as served, served.socket("old") as old:
        served.watched()
        said(old)
        with served.socket("new") as new:
            said(new)
            new.send(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}}))
            assert said(new)["type"] == "feature_flags"
            for client_id in ("old", "new"):
                result = preview(client_id, 3, "image/png")
                told = [preview(client_id, 3), executing(client_id, "4"), result, executing(client_id, "5")]
                served.on_loop(lambda told=told: served.backend.emit(*told))
            assert kinds(old, 3) == ["executing", 1, "executing"]
            assert kinds(new, 4) == [4, "executing", 4, "executing"]


def kinds(client: ClientConnection, count: int) -> list[str | int]:
    """Types of the next messages; of binary ones the event number."""
    frames = [client.recv(timeout=WAIT_S) for _ in range(count)]
    return [frame[3] if isinstance(frame, bytes) else json.loads(frame)["type"] for frame in frames]


def test_messages_may_come_before_the_client_reads(alone: Served) -> None:
    alone.watched()
    with alone.socket("mine") as client:
        said(client)
        alone.on_loop(lambda: alone.backend.emit(*(executing("mine", str(index)) for index in range(1000))))
        assert [said(client)["data"]["node"] for _ in range(1000)] == [str(index) for index in range(1000)]


@contextmanager
def deaf_client(port: int, client_id: str) -> Iterator[socket.socket]:
    """A client that shakes hands and then never reads; its receive buffer is small."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", port))
        client.sendall(
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while b'"sid"' not in answer:
            answer += client.recv(1024)
        yield client


def test_a_client_that_does_not_read_is_dropped_and_nobody_waits() -> None:
    with running_bridge(rest_socket_buffer_mib=1, rest_socket_buffer_messages=64) as served:
        served.watched()
        with served.socket("quick", max_size=None) as quick, deaf_client(served.port, "deaf") as deaf:
            said(quick)
            for index in range(60):
                big = events.NodeExecuted(node_id=str(index), output_json=json.dumps("x" * 200_000).encode())
                served.on_loop(
                    lambda big=big, index=index: served.backend.emit(
                        events.RunEvent(run_id="r", client_id="deaf", executed=big), executing("quick", str(index))
                    )
                )
                assert said(quick)["data"]["node"] == str(index)
            late = bytearray()
            while b"too slow" not in late:  # the close frame's reason, after what was on its way
                chunk = deaf.recv(1 << 20)
                if not chunk:
                    break  # the connection ended without one, because nothing went through in time
                late += chunk
            assert len(late) < 60 * 200_000
            with served.socket("deaf") as again:
                assert said(again)["data"]["sid"] == "deaf"


def test_a_lagging_client_loses_previews_first() -> None:
    with running_bridge(rest_socket_buffer_mib=1) as served:
        served.watched()
        with deaf_client(served.port, "slow") as slow:
            pictures = [event for _ in range(80) for event in (preview("slow", 300_000), executing("slow", "1"))]
            served.on_loop(lambda: served.backend.emit(*pictures, queue(42)))
            received = bytearray()
            while b'"queue_remaining": 42' not in received:
                chunk = slow.recv(1 << 20)
                assert chunk, "dropped although only previews were too much"
                received += chunk
            assert received.count(b'"executing"') == 80
            assert len(received) < 40 * 300_000


def test_lossless_pictures_are_results_and_not_dropped(alone: Served) -> None:
    alone.watched()
    with alone.socket("mine", max_size=None) as client:
        said(client)
        results = [preview("mine", 1000, "image/png") for _ in range(30)]
        alone.on_loop(lambda: alone.backend.emit(*results, queue(1)))
        frames = [client.recv(timeout=WAIT_S) for _ in range(30)]
        assert sum(isinstance(frame, bytes) for frame in frames) >= 29


def test_too_many_clients() -> None:
    with running_bridge(rest_socket_limit=1) as served:
        with served.socket("one") as one:
            said(one)
            with served.socket("two") as two, pytest.raises(ConnectionClosed) as refused:
                two.recv(timeout=WAIT_S)
            assert refused.value.rcvd is not None and refused.value.rcvd.code == 1013
        served.until(lambda: True)
        with served.socket("three") as three:
            said(three)


def test_many_clients_at_once(alone: Served) -> None:
    alone.watched()
    with ExitStack() as stack:
        clients = [stack.enter_context(alone.socket(f"client-{index}")) for index in range(40)]
        for client in clients:
            said(client)
        alone.on_loop(lambda: alone.backend.emit(queue(9), *(executing(f"client-{i}", str(i)) for i in range(40))))
        for index, client in enumerate(clients):
            assert said(client)["type"] == "status"
            assert said(client)["data"]["node"] == str(index)


def test_foreign_pages_get_no_socket(served: Served) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        served.socket("x", additional_headers={"Origin": "http://evil.example"}),
    ):
        pass
    assert refused.value.response.status_code == 403


def test_a_plain_get_of_the_socket(served: Served) -> None:
    assert served.request("GET", "/ws").status == 400


def test_shutdown_tells_the_clients() -> None:
    with running_bridge() as served:
        client = served.socket("mine")
        connected = client.__enter__()
        said(connected)
    with pytest.raises(ConnectionClosed) as closed:
        connected.recv(timeout=WAIT_S)
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
    connected.close()
