"""JSON schemas of what travels, and the few forms in which ComfyUI answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
AREA: Schema = {"type": "string", "enum": ["input", "output", "temp"]}
FREE: Schema = {"type": "object", "additionalProperties": True}
TEXTS: Schema = {"type": "array", "items": TEXT}


def each(schema: Schema) -> Schema:
    """A list of it."""
    return {"type": "array", "items": schema}


def by_name(schema: Schema) -> Schema:
    """An object whose keys are names."""
    return {"type": "object", "additionalProperties": schema}


def record(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these keys; others may follow."""
    found: dict[str, Any] = {"type": "object", "properties": {**required, **(optional or {})}}
    return {**found, "required": list(required)} if required else found


def ref(name: str) -> Schema:
    """One of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


_STATUS_WORDS = ["pending", "in_progress", "completed", "failed", "cancelled"]
_JOB = record(
    {"id": TEXT, "status": {"type": "string", "enum": _STATUS_WORDS}, "priority": NUMBER, "outputs_count": WHOLE},
    {
        "create_time": WHOLE,
        "execution_start_time": WHOLE,
        "execution_end_time": WHOLE,
        "execution_error": FREE,
        "preview_output": FREE,
        "workflow_id": TEXT,
    },
)

COMPONENTS: Mapping[str, Schema] = {
    "Error": record(
        {
            "error": record({"type": TEXT, "message": TEXT, "details": TEXT, "extra_info": FREE}),
            "node_errors": {"type": "object"},
        }
    ),
    "PlainError": record({"error": TEXT}),
    "Receipt": record({"prompt_id": TEXT, "number": NUMBER, "node_errors": FREE}),
    "Explanation": record(
        {
            "accepted": FLAG,
            "refusal": ANY,
            "missing_nodes": each(FREE),
            "missing_files": each(FREE),
            "needed": TEXTS,
            "recent": TEXTS,
            "seconds": NUMBER,
            "unmeasured": TEXTS,
            "model_bytes": WHOLE,
            "prompt": FREE,
        }
    ),
    "ExecInfo": record({"exec_info": record({"queue_remaining": WHOLE})}),
    "QueueItem": {"type": "array", "items": ANY, "minItems": 5, "maxItems": 5},
    "Queue": record({"queue_running": each(ref("QueueItem")), "queue_pending": each(ref("QueueItem"))}),
    "HistoryEntry": record(
        {
            "prompt": ref("QueueItem"),
            "outputs": FREE,
            "status": record({"status_str": TEXT, "completed": FLAG, "messages": each(ANY)}),
            "meta": FREE,
        }
    ),
    "History": by_name(ref("HistoryEntry")),
    "Stored": record({"name": TEXT, "subfolder": TEXT, "type": AREA}),
    "FileInfo": record({"path": TEXT, "size": WHOLE, "modified": NUMBER, "created": NUMBER}),
    "Placed": {"oneOf": [TEXT, ref("FileInfo")]},
    "TreeEntry": record(
        {"name": TEXT, "path": TEXT, "type": {"type": "string", "enum": ["file", "directory"]}},
        {"size": WHOLE, "modified": NUMBER},
    ),
    "ModelFile": record({"name": TEXT, "pathIndex": WHOLE, "modified": NUMBER, "created": NUMBER, "size": WHOLE}),
    "ModelFolder": record({"name": TEXT, "folders": TEXTS}),
    "Job": _JOB,
    "JobDetail": {"allOf": [ref("Job"), record({"outputs": FREE, "workflow": FREE}, {"execution_status": FREE})]},
    "Jobs": record(
        {
            "jobs": each(ref("Job")),
            "pagination": record(
                {"offset": WHOLE, "limit": {"type": ["integer", "null"]}, "total": WHOLE, "has_more": FLAG}
            ),
        }
    ),
    "Logs": record({"entries": each(record({"t": TEXT, "m": TEXT})), "size": record({"cols": WHOLE, "rows": WHOLE})}),
    "SystemStats": record({"system": FREE, "devices": each(FREE)}),
    "Features": record({"supports_preview_metadata": FLAG, "max_upload_size": WHOLE}),
}


@dataclass(frozen=True)
class Answer:
    """One status: what it means, and its body by media type (none: an empty body)."""

    about: str
    content: Mapping[str, Schema]


def json_of(schema: Schema, about: str = "as asked") -> Answer:
    """JSON."""
    return Answer(about, {"application/json": schema})


def text_of(about: str) -> Answer:
    """A short text."""
    return Answer(about, {"text/plain": TEXT})


def nothing(about: str = "done") -> Answer:
    """An empty body."""
    return Answer(about, {})


def file_of(about: str = "the bytes", media_type: str = "*/*") -> Answer:
    """Bytes."""
    return Answer(about, {media_type: {"type": "string", "format": "binary"}})


REFUSED = json_of(ref("Error"), "refused, with the facts")
TROUBLE = Answer("a body or query that cannot be read, as ComfyUI answers it; or a bug", {
    "text/plain": TEXT, "application/json": ref("Error"),
})  # fmt: skip
FORBIDDEN = nothing("a foreign Host or Origin, or a name that leads outside")
TOO_LARGE = Answer("more than the upload limit", {"text/plain": TEXT, "application/json": ref("Error")})
