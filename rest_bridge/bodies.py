"""Reading JSON bodies as ComfyUI does: whatever the Content-Type says."""

from __future__ import annotations

import asyncio
import json

from starlette.requests import Request

from rest_bridge.malformed import MalformedRequest

# Parsing this much takes about 10 ms; more would hold up every other client.
_INLINE_BYTES = 1024 * 1024


async def read_json(request: Request) -> object:
    """The body as JSON. Raises MalformedRequest where it is none."""
    raw = await request.body()
    if len(raw) <= _INLINE_BYTES:
        return read_text(raw)
    return await asyncio.to_thread(read_text, raw)


async def read_json_object(request: Request) -> dict[str, object]:
    """The body as a JSON object; lists and texts hold no keys. Raises MalformedRequest for other JSON."""
    value = await read_json(request)
    if isinstance(value, dict):
        return value
    if isinstance(value, list | str):
        return {}
    raise MalformedRequest("the body must be a JSON object")


def ids_of(value: object) -> list[str]:
    """Ids in a `delete` list; what is not a text matches no id. Raises MalformedRequest if it is no list."""
    if not isinstance(value, list):
        raise MalformedRequest("`delete` must be a list of ids")
    return [item for item in value if isinstance(item, str)]


def read_text(raw: bytes) -> object:
    """A body that is all there. Raises MalformedRequest."""
    try:
        value: object = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise MalformedRequest(_unreadable(problem)) from problem
    return value


def _unreadable(problem: Exception) -> str:
    """Where it stops being JSON, without a word of what the client sent."""
    if isinstance(problem, json.JSONDecodeError):
        return f"the body is not JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}"
    if isinstance(problem, UnicodeDecodeError):
        return f"the body is not UTF-8: byte {problem.start} cannot be read"
    return "the body is not JSON that can be read: " + (
        "it is nested too deeply" if isinstance(problem, RecursionError) else "a number has too many digits"
    )
