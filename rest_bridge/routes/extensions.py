"""GET /extensions: scripts that a web UI should load."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(_bridge: Bridge, _request: Request) -> Response:
    """None: this server ships no web UI and serves no files of custom nodes."""
    return json_answer(b"[]")


ENDPOINT = Endpoint("/extensions", {"GET": show})
