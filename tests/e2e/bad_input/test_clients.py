"""Clients that vanish, stop their runs, or ask twice."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import grpc
import pytest
from heliograph.artifact.v1 import artifact_service_pb2 as apb
from heliograph.artifact.v1 import artifact_service_pb2_grpc as arpc
from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc

from tests.e2e.bad_input.conftest import unfinished_files
from tests.support import graphs
from tests.support.asking import Asking, message, socket_of
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
LONG = 10_000
STEPS = 12


def _text_to_image(seed: int, steps: int = STEPS) -> graphs.Graph:
    return graphs.text_to_image(seed=seed, steps=steps)


def test_a_websocket_closed_in_the_middle_of_a_run(asking: Asking, stack: Stack) -> None:
    client = uuid.uuid4().hex
    with socket_of(stack, client) as socket:
        run_id = asking.submit(_text_to_image(51), client_id=client)
        message(socket, "progress")
    assert asking.ended(run_id)["status"]["status_str"] == "success"


def test_a_websocket_that_breaks_without_a_word(asking: Asking, stack: Stack) -> None:
    client = uuid.uuid4().hex
    with socket_of(stack, client) as socket:
        run_id = asking.submit(_text_to_image(52), client_id=client)
        message(socket, "progress")
        socket.socket.shutdown(2)
    with socket_of(stack, client) as socket:  # the same client comes back and hears the rest
        assert asking.ended(run_id)["status"]["status_str"] == "success"
        message(socket, "status")


def test_an_upload_that_breaks_off(asking: Asking, stack: Stack) -> None:
    address = urlsplit(stack.rest)
    head = (
        f"POST /upload/image HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        'Content-Length: 3000000\r\n\r\n--x\r\nContent-Disposition: form-data; name="image"; filename="broken-off.png"'
        "\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + bytes(2_000_000))
    assert asking.get("/queue").status_code == 200
    assert not list((stack.data / "input").rglob("broken-off*"))
    assert unfinished_files(stack) == []


def test_a_grpc_upload_that_breaks_off(asking: Asking, stack: Stack) -> None:
    """The half file is gone once the service noticed; the folder is watched, not the clock."""

    class Breaking(Exception):
        pass

    def parts() -> Iterator[apb.UploadArtifactRequest]:
        ref = apb.ArtifactRef(type="input", filename="broken-off.bin")
        yield apb.UploadArtifactRequest(header=apb.UploadHeader(ref=ref))
        yield apb.UploadArtifactRequest(chunk=bytes(1 << 20))
        while not unfinished_files(stack):
            time.sleep(0.01)
        raise Breaking

    with grpc.insecure_channel(stack.front) as channel, pytest.raises(grpc.RpcError):
        arpc.ArtifactServiceStub(channel).UploadArtifact(parts(), timeout=20)
    while unfinished_files(stack):
        asking.queue()
    assert not list((stack.data / "input").rglob("broken-off*"))


def test_a_cancelled_watch_leaves_the_run_alone(asking: Asking, stack: Stack) -> None:
    run_id = asking.submit(_text_to_image(53))
    with grpc.insecure_channel(stack.front) as channel:
        watch = run_service_pb2_grpc.RunServiceStub(channel).WatchRun(pb.WatchRunRequest(run_id=run_id))
        for answer in watch:
            if answer.event.HasField("progress"):
                watch.cancel()
                break
    assert asking.ended(run_id)["status"]["status_str"] == "success"


def test_interrupt_stops_within_a_step(asking: Asking, stack: Stack) -> None:
    run_id = asking.submit(_text_to_image(54, LONG))
    asking.until(run_id, "progress", 2)
    assert asking.post("/interrupt").status_code == 200
    last = [event for event in asking.events(run_id) if event.HasField("interrupted")]
    assert last[0].interrupted.node_id == "4"
    steps = [event.progress.value for event in asking.events(run_id) if event.HasField("progress")]
    entry = asking.history(run_id)
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"
    assert not steps or max(steps) < LONG


def test_interrupt_of_nothing(asking: Asking) -> None:
    for body in (None, {}, {"prompt_id": "no-such-run"}):
        assert asking.post("/interrupt", json=body).status_code == 200
    assert asking.succeed(graphs.plain(colour=55))


def test_interrupt_names_one_run(asking: Asking) -> None:
    run_id = asking.submit(_text_to_image(56))
    asking.until(run_id, "progress")
    assert asking.post("/interrupt", json={"prompt_id": "another"}).status_code == 200
    assert asking.ended(run_id)["status"]["status_str"] == "success"


def test_pending_runs_are_taken_out(asking: Asking, stack: Stack) -> None:
    running = asking.submit(_text_to_image(57, LONG))
    pending = [asking.submit(graphs.plain(colour=100 + n)) for n in range(4)]
    asking.until(running, "progress")
    asking.post("/queue", json={"delete": [pending[0]]})
    assert [item[1] for item in asking.queue()["queue_pending"]] == pending[1:]
    with grpc.insecure_channel(stack.front) as channel:
        stub = run_service_pb2_grpc.RunServiceStub(channel)
        stub.CancelRun(pb.CancelRunRequest(run_ids=[pending[1]], include_pending=True))
    assert [item[1] for item in asking.queue()["queue_pending"]] == pending[2:]
    asking.post("/queue", json={"clear": True})
    assert asking.queue()["queue_pending"] == []
    asking.post("/interrupt", json={"prompt_id": running})
    asking.ended(running)
    assert all(asking.get(f"/history/{run_id}").json() == {} for run_id in pending)


def test_delete_of_a_running_run_does_nothing(asking: Asking) -> None:
    run_id = asking.submit(_text_to_image(58))
    asking.until(run_id, "progress")
    asking.post("/queue", json={"delete": [run_id]})
    asking.post("/history", json={"delete": [run_id]})
    assert asking.ended(run_id)["status"]["status_str"] == "success"


def test_the_same_id_and_body_twice_runs_once(asking: Asking) -> None:
    graph, run_id = _text_to_image(59, 4), uuid.uuid4().hex
    first, again = (asking.prompt(graph, prompt_id=run_id) for _ in range(2))
    assert first.json() == again.json() and again.status_code == 200
    asking.ended(run_id)
    late = asking.prompt(graph, prompt_id=run_id)
    assert late.json() == first.json()
    assert len([name for name in asking.get("/history").json() if name == run_id]) == 1
    assert asking.queue() == {"queue_running": [], "queue_pending": []}


def test_the_same_id_with_another_body_is_a_conflict(asking: Asking) -> None:
    run_id = uuid.uuid4().hex
    asking.succeed(graphs.plain(colour=60), prompt_id=run_id)
    answer = asking.prompt(graphs.plain(colour=61), prompt_id=run_id)
    assert answer.status_code == 409
    assert answer.json()["error"]["type"] == "prompt_id_taken"
    assert asking.history(run_id)["prompt"][2]["1"]["inputs"]["color"] == 60
