"""Write `docs/openapi.yaml` from the endpoints and what `operations` says of them.

python -m rest_bridge.openapi [--check]
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rest_bridge.bridge import Endpoint
from rest_bridge.openapi.operations import OPERATIONS, Operation
from rest_bridge.openapi.schemas import COMPONENTS, FORBIDDEN, REFUSED, TOO_LARGE, TROUBLE, Answer, nothing
from rest_bridge.routes import ENDPOINTS
from rest_bridge.translate import COMFYUI_VERSION

FILE = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
_HEAD = "# Printed by code: `python -m rest_bridge.openapi`. Do not edit.\n"
_ABOUT = f"""ComfyUI {COMFYUI_VERSION}'s HTTP API as Heliograph answers it, and the jobs of later versions.

JSON bodies are read whatever their Content-Type says. What cannot be read is answered as ComfyUI does: 500 with a fixed
text. HEAD works where GET does; OPTIONS on any path is 200; a wrong method is 405 with `Allow`. Where a 400 names no
content its body may be empty. Messages of the WebSocket `/ws` are not described here.
"""
_TAIL = re.compile(r":path\}")
# What every operation may answer: the guard before it, and the services behind it.
_NAMED = {"Forbidden": FORBIDDEN, "Refused": REFUSED, "TooLarge": TOO_LARGE, "Trouble": TROUBLE}
_COMMON: Mapping[str, Answer] = {
    "403": FORBIDDEN,
    "429": REFUSED,
    "500": TROUBLE,
    "501": REFUSED,
    "503": REFUSED,
    "504": REFUSED,
}

_WITH_BODY: Mapping[str, Answer] = {"408": nothing("the body made no progress"), "413": TOO_LARGE}


def document() -> dict[str, Any]:
    """The whole document. Raises ValueError where `OPERATIONS` and the endpoints differ."""
    known = {(method, endpoint.path) for endpoint in ENDPOINTS for method in endpoint.handlers}
    if known != set(OPERATIONS):
        raise ValueError(f"not described, or described and not there: {sorted(known ^ set(OPERATIONS))}")
    paths = {_TAIL.sub("}", endpoint.path): _path_item(endpoint) for endpoint in sorted(ENDPOINTS, key=_by_path)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Heliograph", "version": COMFYUI_VERSION, "description": " ".join(_ABOUT.split())},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "responses": {name: _whole_answer(answer) for name, answer in _NAMED.items()},
            "schemas": _plain(COMPONENTS),
        },
    }


def text() -> str:
    """The document as YAML."""
    return _HEAD + yaml.safe_dump(document(), sort_keys=False, allow_unicode=True, width=120)


def _by_path(endpoint: Endpoint) -> str:
    return endpoint.path


def _path_item(endpoint: Endpoint) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if endpoint.aliased:
        item["servers"] = [{"url": "/"}, {"url": "/api"}]
    names = re.findall(r"\{(\w+)", endpoint.path)
    if names:
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    for method in sorted(endpoint.handlers):
        item[method.lower()] = _operation(endpoint, method, OPERATIONS[method, endpoint.path])
    return item


def _operation(endpoint: Endpoint, method: str, operation: Operation) -> dict[str, Any]:
    handler = endpoint.handlers[method]
    module = inspect.getmodule(handler)
    title = (module.__doc__ if module else None) or ""
    answers = {**_COMMON, **(_WITH_BODY if method in ("POST", "PATCH") else {}), **operation.answers}
    told: dict[str, Any] = {
        "operationId": f"{method.lower()}_{module.__name__.rpartition('.')[2] if module else ''}",
        "summary": title.strip().splitlines()[0],
        "description": (handler.__doc__ or "").strip(),
    }
    if operation.query:
        told["parameters"] = [
            {"name": name, "in": "query", "schema": _plain(schema)} for name, schema in operation.query.items()
        ]
    if operation.body:
        content = {kind: {"schema": _plain(schema)} for kind, schema in operation.body.items()}
        told["requestBody"] = {"required": operation.body_required, "content": content}
    told["responses"] = {status: _answer(answers[status]) for status in sorted(answers)}
    return told


def _answer(answer: Answer) -> dict[str, Any]:
    named = next((name for name, each in _NAMED.items() if each is answer), None)
    return {"$ref": f"#/components/responses/{named}"} if named else _whole_answer(answer)


def _whole_answer(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = {"description": answer.about}
    if answer.content:
        told["content"] = {kind: {"schema": _plain(schema)} for kind, schema in answer.content.items()}
    return told


def _plain(value: Any) -> Any:
    """Fresh dicts and lists, so that YAML writes no anchors."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def main(arguments: list[str]) -> int:
    """Returns 1 if --check finds a stale file."""
    printed = text()
    stale = not FILE.exists() or FILE.read_text("utf-8") != printed
    if "--check" in arguments:
        if stale:
            print(f"{FILE.name} is stale: run `make docs`", file=sys.stderr)
        return int(stale)
    FILE.write_text(printed, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
