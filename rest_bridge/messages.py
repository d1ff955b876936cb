"""Run events as WebSocket messages: text frames in ComfyUI's key order, and binary preview frames.

Part of the translation (see translate.py); nothing else looks inside an event.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence

from heliograph.graph.v1 import event_pb2 as events

from rest_bridge import translate

_PREVIEW_IMAGE = 1
_TEXT = 3
_PREVIEW_WITH_METADATA = 4
_FORMATS = {"image/jpeg": 1, "image/png": 2}


def status(remaining: int, sid: str | None = None) -> str:
    """How many runs are unfinished; the first message of a socket also tells its client id."""
    data: dict[str, object] = {"status": translate.exec_info(remaining)}
    if sid is not None:
        data["sid"] = sid
    return _text("status", data)


def executing_on_reconnect(node_id: str) -> str:
    """What a client gets that connects while its run is at a node: without prompt_id."""
    return _text("executing", {"node": node_id})


def run_over(run_id: str) -> str:
    """The end mark after success, failure and interruption."""
    return _text("executing", {"node": None, "prompt_id": run_id})


def feature_flags(max_upload_bytes: int) -> str:
    """Answer to a client's feature_flags."""
    return _text("feature_flags", translate.features(max_upload_bytes))


def log_entries(lines: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """Log lines as ComfyUI's terminal panel wants them."""
    return {"entries": list(lines), "size": {"cols": 80, "rows": 24}}


def logs(lines: Sequence[Mapping[str, str]]) -> str:
    """New log lines for a client that asked for them."""
    return _text("logs", log_entries(lines))


def of_event(event: events.RunEvent) -> str | None:
    """Text frame of a run's event; None for those that have none (previews, resumption, queue changes)."""
    kind = event.WhichOneof("event") or ""
    make = _MAKERS.get(kind)
    return None if make is None else make(event)


def legacy_preview(preview: events.Preview) -> bytes:
    """Binary frame 1: format number, picture (starts at byte 8)."""
    return struct.pack(">II", _PREVIEW_IMAGE, _FORMATS.get(preview.media_type, 1)) + preview.image


def node_text(preview: events.Preview) -> bytes:
    """Binary frame 3: length of the node's id, the id, the text."""
    node_id = preview.node_id.encode()
    return struct.pack(">II", _TEXT, len(node_id)) + node_id + preview.image


def preview_with_metadata(run_id: str, preview: events.Preview) -> bytes:
    """Binary frame 4: length of the JSON, JSON about the node, picture."""
    about = json.dumps(
        {
            "node_id": preview.node_id,
            "prompt_id": run_id,
            "display_node_id": preview.display_node_id or preview.node_id,
            "parent_node_id": preview.parent_node_id or None,
            "real_node_id": preview.real_node_id or preview.node_id,
            "image_type": preview.media_type,
        }
    ).encode()
    return struct.pack(">II", _PREVIEW_WITH_METADATA, len(about)) + about + preview.image


def _text(kind: str, data: Mapping[str, object]) -> str:
    return json.dumps({"type": kind, "data": data})


def _started(event: events.RunEvent) -> str:
    return _text("execution_start", {"prompt_id": event.run_id, "timestamp": event.timestamp_ms})


def _cached(event: events.RunEvent) -> str:
    nodes = list(event.cached.node_ids)
    return _text("execution_cached", {"nodes": nodes, "prompt_id": event.run_id, "timestamp": event.timestamp_ms})


def _node_states(event: events.RunEvent) -> str:
    nodes = {node.node_id: _node_state(event.run_id, node) for node in event.node_states.nodes}
    return _text("progress_state", {"prompt_id": event.run_id, "nodes": nodes})


def _node_state(run_id: str, node: events.NodeState) -> dict[str, object]:
    # A node without a counter of its own goes from 0.0 to 1.0; counters are whole numbers.
    plain = node.max == 1.0
    return {
        "value": node.value if plain else _number(node.value),
        "max": node.max if plain else _number(node.max),
        "state": "finished" if node.finished else "running",
        "node_id": node.node_id,
        "prompt_id": run_id,
        "display_node_id": node.display_node_id or node.node_id,
        "parent_node_id": node.parent_node_id or None,
        "real_node_id": node.real_node_id or node.node_id,
    }


def _executing(event: events.RunEvent) -> str:
    node = event.executing
    display = node.display_node_id or node.node_id
    return _text("executing", {"node": node.node_id, "display_node": display, "prompt_id": event.run_id})


def _progress(event: events.RunEvent) -> str:
    progress = event.progress
    data = {"value": _number(progress.value), "max": _number(progress.max), "prompt_id": event.run_id}
    return _text("progress", {**data, "node": progress.node_id})


def _executed(event: events.RunEvent) -> str:
    node = event.executed
    data = {
        "node": node.node_id,
        "display_node": node.display_node_id or node.node_id,
        "output": json.loads(node.output_json or b"null"),
        "prompt_id": event.run_id,
    }
    return _text("executed", data)


def _succeeded(event: events.RunEvent) -> str:
    return _text("execution_success", {"prompt_id": event.run_id, "timestamp": event.timestamp_ms})


def _failed(event: events.RunEvent) -> str:
    failed = event.failed
    data = {
        "prompt_id": event.run_id,
        "node_id": failed.node_id,
        "node_type": failed.node_type,
        "executed": list(failed.executed),
        "exception_message": failed.exception_message,
        "exception_type": failed.exception_type,
        "traceback": list(failed.traceback),
        "current_inputs": json.loads(failed.current_inputs_json or b"{}"),
        "current_outputs": list(failed.current_outputs),
        "timestamp": event.timestamp_ms,
    }
    return _text("execution_error", data)


def _interrupted(event: events.RunEvent) -> str:
    stopped = event.interrupted
    data = {
        "prompt_id": event.run_id,
        "node_id": stopped.node_id,
        "node_type": stopped.node_type,
        "executed": list(stopped.executed),
        "timestamp": event.timestamp_ms,
    }
    return _text("execution_interrupted", data)


def _ended(event: events.RunEvent) -> str:
    return run_over(event.run_id)


def _number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


_MAKERS: Mapping[str, Callable[[events.RunEvent], str]] = {
    "started": _started,
    "cached": _cached,
    "node_states": _node_states,
    "executing": _executing,
    "progress": _progress,
    "executed": _executed,
    "succeeded": _succeeded,
    "failed": _failed,
    "interrupted": _interrupted,
    "ended": _ended,
}
