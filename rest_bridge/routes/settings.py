"""GET /settings: all settings of the web UI. POST /settings: change some."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bodies import read_json
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest


async def show(bridge: Bridge, _request: Request) -> Response:
    """`{}` at first."""
    return json_answer(translate.dump(await asyncio.to_thread(bridge.preferences.read)))


async def change(bridge: Bridge, request: Request) -> Response:
    """Settings that the body does not name stay."""
    changes = await read_json(request)
    if not isinstance(changes, dict):
        raise MalformedRequest("the body must be a JSON object")
    await asyncio.to_thread(bridge.preferences.merge, changes)
    return empty()


ENDPOINT = Endpoint("/settings", {"GET": show, "POST": change})
