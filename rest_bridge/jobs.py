"""Runs as newer ComfyUI tells of them: jobs with a status word, times and a picture to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph

STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")
SORT_KEYS = ("created_at", "execution_duration")
SORT_ORDERS = ("asc", "desc")
FINISHED = frozenset({"completed", "failed", "cancelled"})

_STATUS_OF: Mapping[events.RunState.ValueType, str] = {
    events.RUN_STATE_PENDING: "pending",
    events.RUN_STATE_RUNNING: "in_progress",
    events.RUN_STATE_SUCCEEDED: "completed",
    events.RUN_STATE_FAILED: "failed",
    events.RUN_STATE_INTERRUPTED: "cancelled",
}
# Kinds of results that a list can show as they are; others only by their format or ending.
_SHOWABLE = frozenset({"images", "video", "audio", "3d", "text"})
_SHOWABLE_FORMATS = ("video/", "audio/")
_SHOWABLE_ENDINGS = (".obj", ".fbx", ".gltf", ".glb", ".usdz")

Job = dict[str, object]


@dataclass(frozen=True)
class Asked:
    """Which jobs, in which order, which part of them; `limit` None: all that follow `offset`."""

    statuses: frozenset[str]
    workflow_id: str | None
    sort_by: str
    newest_first: bool
    limit: int | None
    offset: int


def chosen(jobs: Iterable[Job], asked: Asked) -> list[Job]:
    """Those that are asked for."""
    return [
        job for job in jobs if job["status"] in asked.statuses and asked.workflow_id in (None, job.get("workflow_id"))
    ]


def selection(asked: Asked) -> graph.HistorySelection:
    """What to ask the front for of those that have ended."""
    return graph.HistorySelection(
        states=[state for state, word in _STATUS_OF.items() if word in asked.statuses & FINISHED],
        workflow_id=asked.workflow_id,
        order=graph.HISTORY_ORDER_DURATION if asked.sort_by == "execution_duration" else graph.HISTORY_ORDER_CREATED,
        descending=asked.newest_first,
    )


def merged(
    waiting: Sequence[Job], ended: Iterable[graph.Run], asked: Asked, skip: int, total: int
) -> dict[str, object]:
    """Answer of GET /api/jobs: those that wait or run, and of `total` ended ones a part from the `skip`th on."""
    found = {job["id"]: job for job in waiting}
    alone = len(found)
    for run in ended:
        alone -= run.run_id in found
        found[run.run_id] = summary(run)
    part = page(list(found.values()), replace(asked, offset=asked.offset - skip))
    shown = part["jobs"]
    assert isinstance(shown, list)
    more = asked.offset + len(shown) < total + alone
    part["pagination"] = {"offset": asked.offset, "limit": asked.limit, "total": total + alone, "has_more": more}
    return part


def page(jobs: Sequence[Job], asked: Asked) -> dict[str, object]:
    """Answer of GET /api/jobs."""
    key: Callable[[Job], float] = _duration if asked.sort_by == "execution_duration" else _created
    ordered = sorted(jobs, key=key, reverse=asked.newest_first)
    end = None if asked.limit is None else asked.offset + asked.limit
    shown = ordered[asked.offset : end]
    more = asked.offset + len(shown) < len(ordered)
    pagination = {"offset": asked.offset, "limit": asked.limit, "total": len(ordered), "has_more": more}
    return {"jobs": shown, "pagination": pagination}


def summary(run: graph.Run) -> Job:
    """A job as in a list; what is not known is left out."""
    count, shown = _outputs(_parsed(run.outputs_json, {}))
    told: dict[str, object] = {
        "id": run.run_id,
        "status": _STATUS_OF.get(run.state, "pending"),
        "priority": run.number if run.number_given else int(run.number),
        "create_time": run.created_ms or None,
        "execution_start_time": run.started_ms or None,
        "execution_end_time": run.ended_ms or None,
        "execution_error": _failure(run),
        "outputs_count": count,
        "preview_output": shown,
        "workflow_id": _workflow_id(run),
    }
    return {key: value for key, value in told.items() if value is not None}


def detail(run: graph.Run) -> Job:
    """A job by itself: with its outputs, its history status once it has ended, and what was submitted."""
    status = _STATUS_OF.get(run.state, "pending")
    submitted = {"prompt": _parsed(run.prompt_json, {}), "extra_data": _parsed(run.extra_data_json, {})}
    job = {**summary(run), "outputs": _parsed(run.outputs_json, {}), "workflow": submitted}
    if status in FINISHED:
        job["execution_status"] = {
            "status_str": "success" if status == "completed" else "error",
            "completed": status == "completed",
            "messages": _parsed(run.messages_json, []),
        }
    return job


def _created(job: Job) -> float:
    return _number(job.get("create_time"))


def _duration(job: Job) -> float:
    end = job.get("execution_end_time")
    return _number(end) - _number(job.get("execution_start_time")) if end is not None else 0.0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _outputs(outputs: object) -> tuple[int, object]:
    """How many results, and the first that can be shown: a saved one before a temporary one."""
    count, saved, other = 0, None, None
    for node_id, results in outputs.items() if isinstance(outputs, dict) else ():
        for kind, items in results.items() if isinstance(results, dict) else ():
            if kind == "animated" or not isinstance(items, list):
                continue
            for item in items:
                if not isinstance(item, dict):
                    continue
                count += 1
                if saved is None and _can_be_shown(kind, item):
                    shown = {**item, "nodeId": node_id, "mediaType": kind}
                    if item.get("type") == "output":
                        saved = shown
                    elif other is None:
                        other = shown
    return count, saved or other


def _can_be_shown(kind: str, item: Mapping[str, object]) -> bool:
    form, name = item.get("format"), item.get("filename")
    return (
        kind in _SHOWABLE
        or (isinstance(form, str) and form.startswith(_SHOWABLE_FORMATS))
        or (isinstance(name, str) and name.lower().endswith(_SHOWABLE_ENDINGS))
    )


def _failure(run: graph.Run) -> object:
    if run.state != events.RUN_STATE_FAILED:
        return None
    for message in reversed(_parsed(run.messages_json, [])):
        if isinstance(message, list) and message[:1] == ["execution_error"] and len(message) > 1:
            return message[1]
    return None


def _workflow_id(run: graph.Run) -> str | None:
    if run.workflow_id:
        return run.workflow_id
    found: object = _parsed(run.extra_data_json, {})
    for key in ("extra_pnginfo", "workflow", "id"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None


def _parsed(text: bytes, empty: Any) -> Any:
    return json.loads(text) if text else empty
