"""History's `messages` out of a run's events, and events out of a stored run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.engine.events import Cached, Executed, Failed, Interrupted, Started, Succeeded
from orchestrator.runs.events import Body, Ended, RunEvent
from orchestrator.runs.records import RunRecord, RunState

_CREDENTIALS = ("auth_token_comfy_org", "api_key_comfy_org")
_LAST_WORD = {
    RunState.SUCCEEDED: "execution_success",
    RunState.FAILED: "execution_error",
    RunState.INTERRUPTED: "execution_interrupted",
}


class Collected:
    """The few events that history keeps: start, cached and the last word; each newest once."""

    def __init__(self) -> None:
        self._messages: dict[str, dict[str, object]] = {}

    def clear(self) -> None:
        """Forgets all: the run begins anew."""
        self._messages.clear()

    def add(self, run_id: str, body: Body, timestamp_ms: int) -> None:
        """Notes an event if history wants it."""
        found = _message(run_id, body, timestamp_ms)
        if found is not None:
            self._messages[found[0]] = found[1]

    def to_json(self, state: RunState) -> bytes:
        """`[[event, data], ...]`. A failure that did not end the run (a blocked branch) is no message."""
        names = ("execution_start", "execution_cached", _LAST_WORD[state])
        return json.dumps([[name, self._messages[name]] for name in names if name in self._messages]).encode()


def interrupted() -> Interrupted:
    """The last word of a run that was told to stop and whose worker vanished before it answered."""
    return Interrupted(node_id="", node_type="", executed=())


def worker_lost(losses: int) -> Failed:
    """The last word of a run that took `losses` workers with it."""
    return Failed(
        node_id="",
        node_type="",
        executed=(),
        exception_message=f"The worker process was lost {losses} times while this prompt ran (crashed, killed or out "
        "of memory). See the worker's log; a smaller image or batch needs less memory.",
        exception_type="WorkerLost",
        reason="WORKER_LOST",
        facts={"losses": str(losses)},
    )


def replay(run: RunRecord, epoch: str) -> Iterator[RunEvent]:
    """A finished run's events as far as they are stored: messages, outputs, end. Sequences are 0: nothing follows."""
    messages: list[tuple[str, dict[str, Any]]] = json.loads(run.messages_json)
    ahead = [entry for entry in messages if entry[0] in ("execution_start", "execution_cached")]
    last = [entry for entry in messages if entry not in ahead]
    bodies: list[tuple[Body, int]] = [_body(name, data, run.started_ms) for name, data in ahead]
    for node_id, output in json.loads(run.outputs_json).items():
        bodies.append((Executed(node_id, node_id, output), run.ended_ms))
    bodies += [_body(name, data, run.ended_ms) for name, data in last]
    bodies.append((Ended(run.state), run.ended_ms))
    for body, timestamp_ms in bodies:
        yield RunEvent(run.run_id, 0, run.client_id, timestamp_ms, epoch, body)


def without_credentials(extra_data_json: bytes) -> bytes:
    """extra_data as history may show it: without the account credentials that some clients send along."""
    if b"comfy_org" not in extra_data_json:
        return extra_data_json
    extra = json.loads(extra_data_json)
    return json.dumps({key: value for key, value in extra.items() if key not in _CREDENTIALS}).encode()


def _message(run_id: str, body: Body, timestamp_ms: int) -> tuple[str, dict[str, object]] | None:
    end: dict[str, object] = {"prompt_id": run_id, "timestamp": timestamp_ms}
    match body:
        case Started():
            return "execution_start", end
        case Cached():
            return "execution_cached", {"nodes": list(body.node_ids), **end}
        case Succeeded():
            return "execution_success", end
        case Interrupted():
            about = {"node_id": body.node_id, "node_type": body.node_type, "executed": list(body.executed)}
            return "execution_interrupted", {"prompt_id": run_id, **about, "timestamp": timestamp_ms}
        case Failed():
            return "execution_error", {"prompt_id": run_id, **_failure(body), "timestamp": timestamp_ms}
        case _:
            return None


def _failure(body: Failed) -> dict[str, object]:
    """ComfyUI's fields, then ours (`reason`, `facts`) where the error is typed: who asks later learns them too."""
    typed: dict[str, object] = {"reason": body.reason, "facts": dict(body.facts)} if body.reason else {}
    return {
        "node_id": body.node_id,
        "node_type": body.node_type,
        "executed": list(body.executed),
        "exception_message": body.exception_message,
        "exception_type": body.exception_type,
        "traceback": list(body.traceback),
        "current_inputs": dict(body.current_inputs),
        "current_outputs": list(body.current_outputs),
        **typed,
    }


def _body(name: str, data: Mapping[str, Any], otherwise_ms: int) -> tuple[Body, int]:
    at = int(data.get("timestamp", otherwise_ms))
    if name == "execution_start":
        return Started(), at
    if name == "execution_cached":
        return Cached(tuple(data["nodes"])), at
    if name == "execution_success":
        return Succeeded(), at
    if name == "execution_interrupted":
        return Interrupted(data["node_id"], data["node_type"], tuple(data["executed"])), at
    return Failed(
        node_id=data["node_id"],
        node_type=data["node_type"],
        executed=tuple(data["executed"]),
        exception_message=data["exception_message"],
        exception_type=data["exception_type"],
        traceback=tuple(data["traceback"]),
        current_inputs=data["current_inputs"],
        current_outputs=tuple(data["current_outputs"]),
        reason=data.get("reason", ""),
        facts=data.get("facts", {}),
    ), at
