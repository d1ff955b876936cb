"""GET /models/{folder}: file names; 404 for an unknown folder."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import NotFound
from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bridge import Bridge, Endpoint

# ComfyUI renamed these folders; its nodes still understand the old names, this route does not.
_OLD_NAMES = frozenset({"clip", "unet"})


async def show(bridge: Bridge, request: Request) -> Response:
    """Relative to the folder, subfolders included."""
    folder = request.path_params["folder"]
    if folder in _OLD_NAMES:
        return empty(404)
    try:
        return json_answer(translate.dump(await bridge.models.files(folder)))
    except NotFound:
        return empty(404)


ENDPOINT = Endpoint("/models/{folder}", {"GET": show})
