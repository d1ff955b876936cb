"""GET /models: names of the model folders."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """In ComfyUI's order."""
    return json_answer(translate.dump(list(await bridge.models.folder_paths())))


ENDPOINT = Endpoint("/models", {"GET": show})
