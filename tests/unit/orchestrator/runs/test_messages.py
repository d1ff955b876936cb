"""A failure keeps its reason and facts in history, so that who asks later learns as much as who listened."""

from __future__ import annotations

import json

from orchestrator.engine.events import Failed
from orchestrator.runs.messages import Collected, replay
from orchestrator.runs.records import RunRecord, RunState


def _failed(reason: str, facts: dict[str, str]) -> Failed:
    return Failed("4", "T", ("1",), "no\n", "InvalidModel", (), {"a": [1]}, ("4",), reason, facts)


def _stored(body: Failed) -> RunRecord:
    collected = Collected()
    collected.add("r", body, 5)
    messages = collected.to_json(RunState.FAILED)
    return RunRecord(
        "r", 1, 1.0, False, b"{}", b"{}", "", ("4",), b"{}", b"", 0, RunState.FAILED, messages_json=messages
    )


def test_a_typed_failure_is_replayed_whole() -> None:
    body = _failed("WEIGHTS_HEADER", {"file": "x"})
    assert next(event.body for event in replay(_stored(body), "e")) == body


def test_an_untyped_one_has_comfyuis_fields_only() -> None:
    run = _stored(_failed("", {}))
    ((_, data),) = json.loads(run.messages_json)
    assert "reason" not in data and "facts" not in data
    assert next(event.body for event in replay(run, "e")) == _failed("", {})
