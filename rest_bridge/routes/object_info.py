"""GET /object_info: every node class."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """The front's text, unparsed: it is some hundred kilobytes."""
    return json_answer(await bridge.runs.object_info())


ENDPOINT = Endpoint("/object_info", {"GET": show})
