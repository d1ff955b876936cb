"""What each operation takes and answers, beside what all of them answer. Keys are those of `ENDPOINTS`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rest_bridge.openapi.schemas import (
    ANY,
    AREA,
    FLAG,
    FREE,
    NUMBER,
    REFUSED,
    TEXT,
    TEXTS,
    TROUBLE,
    WHOLE,
    Answer,
    Schema,
    by_name,
    each,
    file_of,
    json_of,
    nothing,
    record,
    ref,
    text_of,
)


@dataclass(frozen=True)
class Operation:
    """Answers by status; query parameters by name (all optional); the body by media type."""

    answers: Mapping[str, Answer]
    query: Mapping[str, Schema] = field(default_factory=dict)
    body: Mapping[str, Schema] = field(default_factory=dict)
    body_required: bool = True


_BINARY: Schema = {"type": "string", "format": "binary"}
_TRUTH: Schema = {"type": "string", "enum": ["true", "false"]}
_PLAIN = ref("PlainError")
_OK = {"200": nothing()}
_UPLOAD = {"subfolder": TEXT, "type": AREA, "overwrite": {"type": "string"}}
_RANGES = {
    "200": file_of(),
    "206": file_of("the part that `Range` names"),
    "304": nothing("unchanged since what the client has"),
    "404": nothing("there is none"),
    "412": nothing("a precondition fails"),
    "416": nothing("no such part"),
}
_PLACED = {
    "200": json_of(ref("Placed"), "where it is now"),
    "400": text_of("the name is one of a folder, or goes through a file"),
    "409": text_of("taken, and `overwrite=false`"),
}
_PLACE_QUERY = {"overwrite": _TRUTH, "full_info": _TRUTH}


def _json(schema: Schema) -> Mapping[str, Schema]:
    return {"application/json": schema}


_DELETE_BODY = _json(record({}, {"clear": FLAG, "delete": TEXTS}))
_PROMPT_BODY = _json(
    record(
        {"prompt": FREE},
        {
            "client_id": TEXT,
            "prompt_id": TEXT,
            "extra_data": FREE,
            "number": NUMBER,
            "front": FLAG,
            "partial_execution_targets": TEXTS,
        },
    )
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/"): Operation({"200": file_of("the page", "text/html")}),
    # runs
    ("GET", "/prompt"): Operation({"200": json_of(ref("ExecInfo"))}),
    ("POST", "/prompt"): Operation(
        {"200": json_of(ref("Receipt")), "400": REFUSED, "409": REFUSED, "413": text_of("too large a prompt")},
        body=_PROMPT_BODY,
    ),
    ("POST", "/explain"): Operation(
        {"200": json_of(ref("Explanation")), "400": REFUSED},
        body=_json(record({}, {"prompt": FREE, "partial_execution_targets": TEXTS})),
    ),
    ("GET", "/queue"): Operation({"200": json_of(ref("Queue"))}),
    ("POST", "/queue"): Operation(_OK, body=_DELETE_BODY),
    ("GET", "/history"): Operation({"200": json_of(ref("History"))}, {"max_items": WHOLE, "offset": WHOLE}),
    ("POST", "/history"): Operation(_OK, body=_DELETE_BODY),
    ("GET", "/history/{prompt_id}"): Operation({"200": json_of(ref("History"), "`{}` if it is unknown or not over")}),
    ("POST", "/interrupt"): Operation(_OK, body=_json(record({}, {"prompt_id": TEXT})), body_required=False),
    ("POST", "/free"): Operation(_OK, body=_json(record({}, {"unload_models": FLAG, "free_memory": FLAG}))),
    ("GET", "/api/jobs"): Operation(
        {"200": json_of(ref("Jobs")), "400": json_of(_PLAIN, "a query that makes no sense")},
        {
            "status": TEXT,
            "workflow_id": TEXT,
            "sort_by": {"type": "string", "enum": ["created_at", "execution_duration"]},
            "sort_order": {"type": "string", "enum": ["asc", "desc"]},
            "limit": {"type": "integer", "minimum": 1},
            "offset": WHOLE,
        },
    ),
    ("GET", "/api/jobs/{id}"): Operation({"200": json_of(ref("JobDetail")), "404": json_of(_PLAIN, "unknown")}),
    ("POST", "/api/jobs/{id}/cancel"): Operation(
        {"200": json_of(record({"cancelled": FLAG}), "false: there was nothing to stop")}
    ),
    ("POST", "/api/jobs/cancel"): Operation(
        {
            "200": json_of(record({"cancelled": FLAG, "job_ids": TEXTS}), "which of them were stopped"),
            "400": json_of(_PLAIN, "no list of ids"),
            "404": json_of(record({"error": TEXT, "job_ids": TEXTS}), "unknown ids; nothing was cancelled"),
        },
        body=_json(record({"job_ids": {"type": "array", "items": TEXT, "minItems": 1, "maxItems": 256}})),
    ),
    # nodes and models
    ("GET", "/object_info"): Operation({"200": json_of(by_name(FREE))}),
    ("GET", "/object_info/{node_class}"): Operation({"200": json_of(by_name(FREE), "`{}` if it is unknown")}),
    ("GET", "/models"): Operation({"200": json_of(TEXTS)}),
    ("GET", "/models/{folder}"): Operation({"200": json_of(TEXTS), "404": nothing("unknown folder")}),
    ("GET", "/embeddings"): Operation({"200": json_of(TEXTS), "404": REFUSED}),
    ("GET", "/view_metadata/{folder}"): Operation(
        {"200": json_of(by_name(TEXT)), "404": nothing("no such file, or it has none")}, {"filename": TEXT}
    ),
    ("GET", "/experiment/models"): Operation({"200": json_of(each(ref("ModelFolder")))}),
    ("GET", "/experiment/models/{folder}"): Operation(
        {"200": json_of(each(ref("ModelFile"))), "404": nothing("unknown folder")}
    ),
    ("GET", "/experiment/models/preview/{folder}/{path_index}/{filename:path}"): Operation(
        {"200": file_of("the picture", "image/webp"), "404": nothing("there is none")}
    ),
    ("GET", "/system_stats"): Operation({"200": json_of(ref("SystemStats"))}),
    ("GET", "/features"): Operation({"200": json_of(ref("Features"))}),
    ("GET", "/extensions"): Operation({"200": json_of(TEXTS)}),
    ("GET", "/extensions/{pack}/{file:path}"): Operation(
        {"200": file_of("a script or another file of a node pack or the web UI", "*/*"), "404": nothing("no such file")}
    ),
    ("GET", "/i18n"): Operation({"200": json_of(FREE)}),
    ("GET", "/workflow_templates"): Operation({"200": json_of(by_name(TEXTS))}),
    ("GET", "/api/workflow_templates/{source}/{file}"): Operation(_RANGES),
    # files
    ("GET", "/view"): Operation(
        {**_RANGES, "400": nothing("an unsafe name; or no picture, with an error object")},
        {"filename": TEXT, "type": AREA, "subfolder": TEXT, "preview": TEXT, "channel": TEXT},
    ),
    ("POST", "/upload/image"): Operation(
        {"200": json_of(ref("Stored")), "400": nothing("no file, or an unsafe name")},
        body={"multipart/form-data": record({"image": _BINARY}, _UPLOAD)},
    ),
    ("POST", "/upload/mask"): Operation(
        {"200": json_of(ref("Stored")), "400": nothing("no file, an unsafe name; or no picture, with an error object")},
        body={"multipart/form-data": record({"image": _BINARY, "original_ref": TEXT}, _UPLOAD)},
    ),
    # the user's
    ("GET", "/users"): Operation({"200": json_of(record({"storage": TEXT, "migrated": FLAG}))}),
    ("POST", "/users"): Operation(
        {"400": json_of(_PLAIN, "there is one user")}, body=_json(record({"username": TEXT}))
    ),
    ("GET", "/settings"): Operation({"200": json_of(FREE)}),
    ("POST", "/settings"): Operation({**_OK, "400": REFUSED}, body=_json(FREE)),
    ("GET", "/settings/{id}"): Operation({"200": json_of(ANY, "`null` if nobody set it")}),
    ("POST", "/settings/{id}"): Operation({**_OK, "400": REFUSED}, body=_json(ANY)),
    ("GET", "/userdata"): Operation(
        {
            "200": json_of(each({"oneOf": [TEXT, TEXTS, ref("FileInfo")]})),
            "400": text_of("no `dir`"),
            "404": text_of("no such folder"),
        },
        {"dir": TEXT, "recurse": _TRUTH, "split": _TRUTH, "full_info": _TRUTH},
    ),
    ("GET", "/v2/userdata"): Operation(
        {"200": json_of(each(ref("TreeEntry"))), "400": text_of("no folder"), "404": text_of("nothing there")},
        {"path": TEXT},
    ),
    ("GET", "/userdata/{file}"): Operation(_RANGES),
    ("POST", "/userdata/{file}"): Operation(_PLACED, _PLACE_QUERY, {"application/octet-stream": _BINARY}),
    ("DELETE", "/userdata/{file}"): Operation({"204": nothing(), "404": nothing("there is none")}),
    ("POST", "/userdata/{file}/move/{dest}"): Operation({**_PLACED, "404": nothing("there is none")}, _PLACE_QUERY),
    # this server
    ("GET", "/internal/logs"): Operation({"200": json_of(TEXT)}),
    ("GET", "/internal/logs/raw"): Operation({"200": json_of(ref("Logs"))}),
    ("PATCH", "/internal/logs/subscribe"): Operation(_OK, body=_json(record({"clientId": TEXT, "enabled": FLAG}))),
    ("GET", "/internal/folder_paths"): Operation({"200": json_of(by_name(TEXTS))}),
    ("GET", "/internal/files/{type}"): Operation({"200": json_of(TEXTS), "400": json_of(_PLAIN, "no such area")}),
    ("GET", "/ws"): Operation({"101": nothing("it becomes a WebSocket"), "400": text_of("no WebSocket was asked for")}),
}
"""Every method of every endpoint; `python -m rest_bridge.openapi` refuses a gap."""

__all__ = ["OPERATIONS", "TROUBLE", "Operation"]
