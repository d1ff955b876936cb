"""Events as the front keeps and passes them on: a worker's, plus the front's own."""

from __future__ import annotations

import json
from dataclasses import dataclass

from orchestrator.engine.events import Event, Executed, Executing, Failed, NodeStates, Previewed, Progress
from orchestrator.runs.records import RunState

_BASE_BYTES = 400
_STATE_BYTES = 300


@dataclass(frozen=True)
class QueueChanged:
    """How many runs are unfinished now."""

    remaining: int


@dataclass(frozen=True)
class Ended:
    """The run has left the queue; after success, failure and interruption its history entry exists."""

    state: RunState


@dataclass(frozen=True)
class Resumed:
    """Another worker took over; `attempt` from 2."""

    attempt: int


Body = Event | QueueChanged | Ended | Resumed


@dataclass(frozen=True)
class RunEvent:
    """One event; `sequence` grows by one within an `epoch` (a front process), `run_id` empty: of no single run."""

    run_id: str
    sequence: int
    client_id: str
    timestamp_ms: int
    epoch: str
    body: Body


def is_preview(body: Body) -> bool:
    """Whether the event may be dropped first."""
    return isinstance(body, Previewed)


def weight(body: Body) -> int:
    """Rough size in memory, bytes."""
    match body:
        case Previewed():
            return _BASE_BYTES + len(body.image.data)
        case Executed() if body.output is not None:
            return _BASE_BYTES + len(json.dumps(body.output, default=str))
        case NodeStates():
            return _BASE_BYTES + _STATE_BYTES * len(body.nodes)
        case Failed():
            return _BASE_BYTES + len(body.exception_message) + sum(map(len, body.traceback)) + 4096
        case _:
            return _BASE_BYTES


def latest_key(body: Body) -> object:
    """Equal for events of which only the newest matters to a late watcher; None: each one matters."""
    match body:
        case Previewed():
            return ("preview", body.node_id)
        case Progress():
            return ("progress", body.node_id)
        case NodeStates():
            return "states"
        case Executing():
            return ("executing", body.node_id)
        case _:
            return None
