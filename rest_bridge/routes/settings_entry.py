"""GET and POST /settings/{id}: one setting of the web UI."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bodies import read_json
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """The value, `null` for one that nobody set."""
    settings = await asyncio.to_thread(bridge.preferences.read)
    return json_answer(translate.dump(settings.get(request.path_params["id"])))


async def change(bridge: Bridge, request: Request) -> Response:
    """The body is the value, any JSON."""
    value = await read_json(request)
    await asyncio.to_thread(bridge.preferences.merge, {request.path_params["id"]: value})
    return empty()


ENDPOINT = Endpoint("/settings/{id}", {"GET": show, "POST": change})
