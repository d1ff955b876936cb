"""GET /experiment/models/{folder}: model files with size, times and search path; 404 for an unknown folder."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import NotFound
from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """Names relative to the search path."""
    try:
        return json_answer(translate.model_files(await bridge.models.listed(request.path_params["folder"])))
    except NotFound:
        return empty(404)


ENDPOINT = Endpoint("/experiment/models/{folder}", {"GET": show})
