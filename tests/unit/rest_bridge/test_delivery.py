"""Order of previews and counters, and what is remembered of a run."""

from __future__ import annotations

import json

from heliograph.graph.v1 import event_pb2 as events

from rest_bridge.delivery import Delivery
from rest_bridge.sockets import Outbox, OutboxLimits, Sockets


def made(*client_ids: str) -> tuple[Delivery, list[Outbox]]:
    """A delivery with these clients."""
    sockets = Sockets(10, OutboxLimits(1000, 10**6))
    return Delivery(sockets, legacy_previews=True), [sockets.open(client_id) for client_id in client_ids]


async def taken(box: Outbox, count: int) -> list[str]:
    """Kinds of the next frames: the message type, `legacy` or `metadata`."""
    kinds = []
    for _ in range(count):
        payload = (await box.next()).payload
        if isinstance(payload, bytes):
            kinds.append({1: "legacy", 4: "metadata"}[payload[3]])
        else:
            kinds.append(json.loads(payload)["type"])
    return kinds


def step(node_id: str, run_id: str = "r") -> list[events.RunEvent]:
    """A sampler's step as the front tells it."""
    common = {"run_id": run_id, "client_id": "a"}
    return [
        events.RunEvent(**common, node_states=events.NodeStates()),
        events.RunEvent(**common, preview=events.Preview(node_id=node_id, media_type="image/jpeg", image=b"x")),
        events.RunEvent(**common, progress=events.NodeProgress(node_id=node_id, value=1, max=2)),
    ]


async def test_legacy_clients_get_the_picture_after_the_counter() -> None:
    delivery, (box,) = made("a")
    for event in step("3") + step("3"):
        delivery.handle(event)
    assert await taken(box, 6) == ["progress_state", "progress", "legacy"] * 2


async def test_clients_with_flags_get_it_before() -> None:
    delivery, (box,) = made("a")
    box.preview_metadata = True
    for event in step("3"):
        delivery.handle(event)
    assert await taken(box, 3) == ["progress_state", "metadata", "progress"]


async def test_a_held_picture_leaves_before_anything_else_of_its_run() -> None:
    delivery, (box,) = made("a")
    states, picture, _ = step("3")
    delivery.handle(picture)
    delivery.handle(picture)
    delivery.handle(events.RunEvent(run_id="other", client_id="a", started=events.RunStarted()))
    delivery.handle(states)
    assert await taken(box, 4) == ["legacy", "execution_start", "legacy", "progress_state"]


async def test_a_run_is_remembered_until_it_ends() -> None:
    delivery, (box,) = made("a")
    delivery.handle(events.RunEvent(run_id="r", client_id="a", executing=events.NodeExecuting(node_id="5")))
    assert delivery.active_runs() == ["r"] and delivery.node_of_client("a") == "5"
    assert delivery.node_of_client("b") == ""
    delivery.handle(events.RunEvent(run_id="r", client_id="a", ended=events.RunEnded()))
    assert delivery.active_runs() == [] and delivery.node_of_client("a") == ""
    delivery.conclude("r", None)
    assert await taken(box, 2) == ["executing", "executing"]
    delivery.queue_changed(1)
    assert await taken(box, 1) == ["status"]  # nothing was concluded twice


async def test_text_of_a_node_is_a_frame_of_its_own() -> None:
    delivery, (box,) = made("a")
    shown = events.Preview(node_id="12:3", media_type="text/plain", image=b"width: 2")
    delivery.handle(events.RunEvent(run_id="r", client_id="a", preview=shown))
    assert (await box.next()).payload == b"\0\0\0\3" + b"\0\0\0\4" + b"12:3" + b"width: 2"
