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
        return _parse(raw)
    return await asyncio.to_thread(_parse, raw)


async def read_json_object(request: Request) -> dict[str, object]:
    """The body as a JSON object; lists and texts hold no keys. Raises MalformedRequest for other JSON."""
    value = await read_json(request)
    if isinstance(value, dict):
        return value
    if isinstance(value, list | str):
        return {}
    raise MalformedRequest


def ids_of(value: object) -> list[str]:
    """Ids in a `delete` list; what is not a text matches no id. Raises MalformedRequest if it is no list."""
    if not isinstance(value, list):
        raise MalformedRequest
    return [item for item in value if isinstance(item, str)]


def _parse(raw: bytes) -> object:
    try:
        value: object = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as problem:
        raise MalformedRequest from problem
    return value
