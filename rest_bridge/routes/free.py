"""POST /free: let models and cached results go."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty
from rest_bridge.bodies import read_json_object
from rest_bridge.bridge import Bridge, Endpoint


async def free(bridge: Bridge, request: Request) -> Response:
    """Done by the workers after what they run now."""
    body = await read_json_object(request)
    unload_models, free_memory = bool(body.get("unload_models")), bool(body.get("free_memory"))
    if unload_models or free_memory:
        await bridge.runs.free(unload_models, free_memory)
    return empty()


ENDPOINT = Endpoint("/free", {"POST": free})
