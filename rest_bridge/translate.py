"""The only place where protobuf messages and ComfyUI's JSON meet.

Stored JSON (prompts, outputs, node errors) is spliced in as bytes: a queue of big prompts is not parsed to be listed.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping

from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph
from heliograph.model.v1 import model_service_pb2 as model

from kit.errors import HeliographError, InvalidRequest
from rest_bridge.malformed import MalformedRequest

COMFYUI_VERSION = "0.3.64"
_FINISHED = {
    events.RUN_STATE_SUCCEEDED: "success",
    events.RUN_STATE_FAILED: "error",
    events.RUN_STATE_INTERRUPTED: "error",
}
_NO_OBJECT = b"{}"
_NO_LIST = b"[]"


def dump(value: object) -> bytes:
    """JSON text with ComfyUI's separators, ASCII only."""
    return json.dumps(value).encode("ascii")


# ---------------------------------------------------------------- requests


def submit_request(body: Mapping[str, object]) -> graph.SubmitRunRequest:
    """What POST /prompt asks for. Raises MalformedRequest where ComfyUI answers 500, InvalidRequest otherwise."""
    request = graph.SubmitRunRequest()
    if "prompt" in body:
        request.prompt_json = dump(_prompt(body["prompt"]))
    number = body.get("number", _ABSENT)
    if number is not _ABSENT:
        request.number = _number(number)
    request.front = bool(body.get("front"))
    if body.get("prompt_id") is not None:  # ComfyUI makes the id "None" of null; to us it is no key
        request.prompt_id = _word("prompt_id", body["prompt_id"])
    extra = _extra_data(body)
    client = body.get("client_id", extra.get("client_id"))
    if client is not None:
        request.client_id = _word("client_id", client)
    request.extra_data_json = dump(extra)
    targets = body.get("partial_execution_targets")
    if targets is not None:
        if not isinstance(targets, list):
            raise InvalidRequest("partial_execution_targets must be a list of node ids", reason="INVALID_TARGETS")
        request.targets_given = True
        request.partial_execution_targets.extend(_word("partial_execution_targets", target) for target in targets)
    return request


_ABSENT = object()


def _word(field: str, value: object) -> str:
    """As Python spells it, which is what ComfyUI does with anything that is no text."""
    try:
        word = str(value)
        word.encode()
    except ValueError as problem:  # half of a surrogate pair, or a number of too many digits
        raise InvalidRequest(f"{field} cannot be written as text", reason="INVALID_TEXT", field=field) from problem
    return word


def _prompt(prompt: object) -> Mapping[str, object]:
    if isinstance(prompt, dict):
        return prompt
    if prompt == []:  # has no outputs, as an empty object
        return {}
    raise MalformedRequest("`prompt` must be an object of nodes")


def _number(value: object) -> float:
    if not isinstance(value, str | int | float):
        raise MalformedRequest("`number` must be a number")
    try:
        number = float(value)
    except (ValueError, OverflowError) as problem:
        raise MalformedRequest("`number` must be a number") from problem
    if not math.isfinite(number):
        raise InvalidRequest("number must be finite", reason="INVALID_NUMBER", number=value)
    return number


def _extra_data(body: Mapping[str, object]) -> dict[str, object]:
    extra = body.get("extra_data", {})
    if isinstance(extra, dict):
        return extra
    if "client_id" in body:
        raise MalformedRequest("`extra_data` must be an object")
    if extra is None:
        return {}
    raise InvalidRequest("extra_data must be an object", reason="INVALID_EXTRA_DATA")


# --------------------------------------------------------------- responses


def receipt(response: graph.SubmitRunResponse) -> bytes:
    """Answer of POST /prompt."""
    return _join_object(
        {
            "prompt_id": dump(response.run_id),
            "number": _place(response.number, response.number_given),
            "node_errors": response.node_errors_json or _NO_OBJECT,
        }
    )


def exec_info(remaining: int) -> dict[str, object]:
    """The object that says how many runs are unfinished."""
    return {"exec_info": {"queue_remaining": remaining}}


def queue(running: Iterable[bytes], pending: Iterable[bytes]) -> bytes:
    """Answer of GET /queue, of items as `queue_item` makes them."""
    return _join_object({"queue_running": _join_list(running), "queue_pending": _join_list(pending)})


def remaining(response: graph.ListQueueResponse) -> int:
    """Running and pending runs."""
    return len(response.running) + len(response.pending)


def history(runs: Iterable[graph.Run]) -> bytes:
    """Answer of GET /history: finished runs by id, in the given order."""
    return _join_object({run.run_id: _history_entry(run) for run in runs if run.state in _FINISHED})


def ended(run: graph.Run) -> bool:
    """True when the run has a history entry."""
    return run.state in _FINISHED


def last_message(run: graph.Run) -> str | None:
    """The stored message that told how the run ended, as socket text; None if there is none."""
    messages = json.loads(run.messages_json or _NO_LIST)
    if not messages:
        return None
    kind, data = messages[-1]
    return json.dumps({"type": kind, "data": data})


def error_object(error: HeliographError) -> dict[str, object]:
    """A typed error in the shape of ComfyUI's validation answers."""
    details = ", ".join(f"{key}={value}" for key, value in error.facts.items())
    return {
        "error": {
            "type": error.reason.lower(),
            "message": error.message,
            "details": details,
            "extra_info": dict(error.facts),
        },
        "node_errors": {},
    }


def upload_receipt(ref: artifact.ArtifactRef) -> bytes:
    """Answer of the upload routes."""
    return dump({"name": ref.filename, "subfolder": ref.subfolder, "type": ref.type})


def model_files(files: Iterable[model.ModelFile]) -> bytes:
    """Answer of GET /experiment/models/{folder}."""
    return dump(
        [
            {
                "name": file.file.name,
                "pathIndex": file.path_index,
                "modified": file.modified_s,
                "created": file.created_s,
                "size": file.size_bytes,
            }
            for file in files
        ]
    )


def features(max_upload_bytes: int) -> dict[str, object]:
    """What we support beyond the first protocol; also the answer to a client's feature_flags."""
    return {"supports_preview_metadata": True, "max_upload_size": max_upload_bytes}


def system_stats(response: graph.GetSystemResponse) -> bytes:
    """Answer of GET /system_stats: what the front knows, and ComfyUI's keys that clients look for."""
    known = json.loads(response.system_json or _NO_OBJECT)
    devices = known.pop("devices", None)
    system = {
        "os": os.name,
        "ram_total": 0,
        "ram_free": 0,
        "comfyui_version": COMFYUI_VERSION,
        "required_frontend_version": None,
        "installed_templates_version": None,
        "required_templates_version": None,
        "python_version": platform.python_version(),
        "pytorch_version": "",
        "embedded_python": False,
        "argv": ["heliograph"],
        **known,
    }
    return dump({"system": system, "devices": devices or [_cpu_device(system)]})


def _cpu_device(system: Mapping[str, object]) -> dict[str, object]:
    total, free = system["ram_total"], system["ram_free"]
    return {
        "name": "cpu",
        "type": "cpu",
        "index": None,
        "vram_total": total,
        "vram_free": free,
        "torch_vram_total": total,
        "torch_vram_free": free,
    }


def queue_item(run: graph.Run) -> bytes:
    """[number, id, prompt, extra_data, outputs_to_execute]: exactly five entries."""
    return _join_list(
        (
            _place(run.number, run.number_given),
            dump(run.run_id),
            run.prompt_json or _NO_OBJECT,
            run.extra_data_json or _NO_OBJECT,
            dump(list(run.outputs_to_execute)),
        )
    )


def _history_entry(run: graph.Run) -> bytes:
    status = _join_object(
        {
            "status_str": dump(_FINISHED[run.state]),
            "completed": dump(run.state == events.RUN_STATE_SUCCEEDED),
            "messages": run.messages_json or _NO_LIST,
        }
    )
    return _join_object(
        {
            "prompt": queue_item(run),
            "outputs": run.outputs_json or _NO_OBJECT,
            "status": status,
            "meta": run.meta_json or _NO_OBJECT,
        }
    )


def _place(number: float, given: bool) -> bytes:
    """A number of the caller's is a float, one of the server's counter an int."""
    return dump(number if given else int(number))


def _join_list(items: Iterable[bytes]) -> bytes:
    return b"[" + b", ".join(items) + b"]"


def _join_object(entries: Mapping[str, bytes]) -> bytes:
    return b"{" + b", ".join(dump(key) + b": " + value for key, value in entries.items()) + b"}"
