"""GET /experiment/models: model folders with their search paths."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint

# They hold no models.
_LEFT_OUT = frozenset({"configs", "custom_nodes"})


async def show(bridge: Bridge, _request: Request) -> Response:
    """In ComfyUI's order."""
    folders = await bridge.models.folder_paths()
    shown = [{"name": name, "folders": paths} for name, paths in folders.items() if name not in _LEFT_OUT]
    return json_answer(translate.dump(shown))


ENDPOINT = Endpoint("/experiment/models", {"GET": show})
