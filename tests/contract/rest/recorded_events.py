"""Recorded socket messages turned back into the events that a front would have sent for them."""

from __future__ import annotations

import json
from typing import Any

from heliograph.graph.v1 import event_pb2 as events

PICTURE = b"picture bytes"
_PREVIEW_TYPES = {1: "image/jpeg", 2: "image/png"}


def event_of(message: dict[str, Any], run_id: str, client_id: str, node_id: str) -> events.RunEvent | None:
    """The event behind a message; None for frames that no event stands for. `node_id` is the node being executed."""
    event = events.RunEvent(run_id=run_id, client_id=client_id)
    if message.get("binary"):
        if message["event"] == 3:
            return None
        kind = _PREVIEW_TYPES[message["image_type"]] if message["event"] == 1 else message["metadata"]["image_type"]
        event.preview.CopyFrom(events.Preview(node_id=node_id, media_type=kind, image=PICTURE))
        return event
    data = message["data"]
    event.timestamp_ms = data.get("timestamp", 0)
    if message["type"] == "status":
        remaining = data["status"]["exec_info"]["queue_remaining"]
        return events.RunEvent(queue_changed=events.QueueChanged(remaining=remaining))
    _FILL[message["type"]](event, data)
    return event


def _progress_state(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.node_states.SetInParent()
    for node in data["nodes"].values():
        event.node_states.nodes.add(
            node_id=node["node_id"],
            value=node["value"],
            max=node["max"],
            finished=node["state"] == "finished",
            display_node_id=node["display_node_id"],
            parent_node_id=node["parent_node_id"] or "",
            real_node_id=node["real_node_id"],
        )


def _executing(event: events.RunEvent, data: dict[str, Any]) -> None:
    if data["node"] is None:
        event.ended.state = events.RUN_STATE_SUCCEEDED
    else:
        event.executing.node_id, event.executing.display_node_id = data["node"], data["display_node"]


def _executed(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.executed.node_id, event.executed.display_node_id = data["node"], data["display_node"]
    event.executed.output_json = json.dumps(data["output"]).encode()


def _progress(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.progress.node_id, event.progress.value, event.progress.max = data["node"], data["value"], data["max"]


def _error(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.failed.CopyFrom(
        events.RunFailed(
            node_id=data["node_id"],
            node_type=data["node_type"],
            executed=data["executed"],
            exception_message=data["exception_message"],
            exception_type=data["exception_type"],
            current_inputs_json=json.dumps(data["current_inputs"]).encode(),
            current_outputs=data["current_outputs"],
        )
    )


def _interrupted(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.interrupted.CopyFrom(
        events.RunInterrupted(node_id=data["node_id"], node_type=data["node_type"], executed=data["executed"])
    )


def _cached(event: events.RunEvent, data: dict[str, Any]) -> None:
    event.cached.SetInParent()
    event.cached.node_ids.extend(data["nodes"])


_FILL = {
    "execution_start": lambda event, data: event.started.SetInParent(),
    "execution_cached": _cached,
    "progress_state": _progress_state,
    "executing": _executing,
    "executed": _executed,
    "progress": _progress,
    "execution_error": _error,
    "execution_interrupted": _interrupted,
    "execution_success": lambda event, data: event.succeeded.SetInParent(),
}


def events_of(log: list[dict[str, Any]], client_id: str) -> list[events.RunEvent]:
    """A log's events as a front orders them: a counter's picture before the counter."""
    run_id = next(m["data"]["prompt_id"] for m in log if not m.get("binary") and "prompt_id" in m["data"])
    node_id, found = "", []
    for message in log:
        if not message.get("binary") and message["type"] == "executing" and message["data"]["node"]:
            node_id = message["data"]["node"]
        event = event_of(message, run_id, client_id, node_id)
        if event is None:
            continue
        if event.HasField("preview") and found and found[-1].HasField("progress"):
            found.insert(-1, event)
        else:
            found.append(event)
    return found
