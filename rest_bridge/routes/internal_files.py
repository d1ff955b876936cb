"""GET /internal/files/{type}: names of an area's top level, newest first."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import filenames, translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """Files only; 400 for an unknown area."""
    area = request.path_params["type"]
    if area not in filenames.AREAS:
        return json_answer(translate.dump({"error": "Invalid directory type"}), 400)
    return json_answer(translate.dump(await bridge.artifacts.names(area)))


ENDPOINT = Endpoint("/internal/files/{type}", {"GET": show}, aliased=False)
