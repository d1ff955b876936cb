"""GET /internal/folder_paths: search paths of every model folder."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """{folder: [absolute paths]}, as the model service sees them."""
    return json_answer(translate.dump(await bridge.models.folder_paths()))


ENDPOINT = Endpoint("/internal/folder_paths", {"GET": show}, aliased=False)
