"""Events <-> protobuf."""

from __future__ import annotations

import json
from typing import cast

from heliograph.graph.v1 import event_pb2 as pb

from kit.errors import InvalidRequest
from orchestrator.engine import events as ev
from orchestrator.ports import PreviewImage
from orchestrator.runs.events import Body, Ended, QueueChanged, Resumed, RunEvent
from orchestrator.runs.records import RunState


def encode_event(event: RunEvent) -> pb.RunEvent:
    """An event for watchers."""
    message = pb.RunEvent(
        run_id=event.run_id,
        sequence=event.sequence,
        client_id=event.client_id,
        timestamp_ms=event.timestamp_ms,
        epoch=event.epoch,
    )
    encode_body(event.body, message)
    return message


def encode_body(body: Body, into: pb.RunEvent) -> None:
    """Sets the oneof."""
    match body:
        case ev.Started():
            into.started.SetInParent()
        case ev.Cached():
            into.cached.SetInParent()
            into.cached.node_ids.extend(body.node_ids)
        case ev.NodeStates():
            into.node_states.SetInParent()
            into.node_states.nodes.extend(_state(node) for node in body.nodes)
        case ev.Executing():
            into.executing.CopyFrom(pb.NodeExecuting(node_id=body.node_id, display_node_id=body.display_node_id))
        case ev.Progress():
            into.progress.CopyFrom(pb.NodeProgress(node_id=body.node_id, value=body.value, max=body.max))
        case ev.Executed():
            output = json.dumps(None if body.output is None else dict(body.output)).encode()
            into.executed.CopyFrom(
                pb.NodeExecuted(node_id=body.node_id, display_node_id=body.display_node_id, output_json=output)
            )
        case ev.Previewed():
            into.preview.CopyFrom(_preview(body))
        case ev.Succeeded():
            into.succeeded.SetInParent()
        case ev.Failed():
            into.failed.CopyFrom(_failed(body))
        case ev.Interrupted():
            into.interrupted.CopyFrom(
                pb.RunInterrupted(node_id=body.node_id, node_type=body.node_type, executed=body.executed)
            )
        case QueueChanged():
            into.queue_changed.CopyFrom(pb.QueueChanged(remaining=body.remaining))
        case Ended():
            into.ended.CopyFrom(pb.RunEnded(state=encode_state(body.state)))
        case Resumed():
            into.resumed.CopyFrom(pb.RunResumed(attempt=body.attempt))


def decode_body(message: pb.RunEvent) -> Body:
    """What a worker reports. Raises InvalidRequest for an empty event or one that only the front makes."""
    match message.WhichOneof("event"):
        case "started":
            return ev.Started()
        case "cached":
            return ev.Cached(tuple(message.cached.node_ids))
        case "node_states":
            return ev.NodeStates(tuple(_node_state(node) for node in message.node_states.nodes))
        case "executing":
            return ev.Executing(message.executing.node_id, message.executing.display_node_id)
        case "progress":
            return ev.Progress(message.progress.node_id, message.progress.value, message.progress.max)
        case "executed":
            done = message.executed
            return ev.Executed(done.node_id, done.display_node_id, json.loads(done.output_json or b"null"))
        case "preview":
            shown = message.preview
            image = PreviewImage(shown.media_type, shown.image)
            return ev.Previewed(shown.node_id, shown.display_node_id, shown.parent_node_id, shown.real_node_id, image)
        case "succeeded":
            return ev.Succeeded()
        case "failed":
            return _failure(message.failed)
        case "interrupted":
            stop = message.interrupted
            return ev.Interrupted(stop.node_id, stop.node_type, tuple(stop.executed))
        case other:
            raise InvalidRequest("a worker cannot report this", reason="BAD_EVENT", event=other)


def encode_state(state: RunState) -> pb.RunState.ValueType:
    """The numbers are the same on purpose."""
    return cast("pb.RunState.ValueType", int(state))


def _state(node: ev.NodeState) -> pb.NodeState:
    return pb.NodeState(
        node_id=node.node_id,
        value=node.value,
        max=node.max,
        finished=node.finished,
        display_node_id=node.display_node_id,
        parent_node_id=node.parent_node_id,
        real_node_id=node.real_node_id,
    )


def _node_state(node: pb.NodeState) -> ev.NodeState:
    return ev.NodeState(
        node_id=node.node_id,
        value=node.value,
        max=node.max,
        finished=node.finished,
        display_node_id=node.display_node_id,
        parent_node_id=node.parent_node_id,
        real_node_id=node.real_node_id,
    )


def _preview(body: ev.Previewed) -> pb.Preview:
    return pb.Preview(
        node_id=body.node_id,
        display_node_id=body.display_node_id,
        parent_node_id=body.parent_node_id,
        real_node_id=body.real_node_id,
        media_type=body.image.media_type,
        image=body.image.data,
    )


def _failed(body: ev.Failed) -> pb.RunFailed:
    return pb.RunFailed(
        node_id=body.node_id,
        node_type=body.node_type,
        executed=body.executed,
        exception_message=body.exception_message,
        exception_type=body.exception_type,
        traceback=body.traceback,
        current_inputs_json=json.dumps(dict(body.current_inputs), default=str).encode(),
        current_outputs=body.current_outputs,
        reason=body.reason,
        facts=dict(body.facts),
    )


def _failure(message: pb.RunFailed) -> ev.Failed:
    return ev.Failed(
        node_id=message.node_id,
        node_type=message.node_type,
        executed=tuple(message.executed),
        exception_message=message.exception_message,
        exception_type=message.exception_type,
        traceback=tuple(message.traceback),
        current_inputs=json.loads(message.current_inputs_json or b"{}"),
        current_outputs=tuple(message.current_outputs),
        reason=message.reason,
        facts=dict(message.facts),
    )
