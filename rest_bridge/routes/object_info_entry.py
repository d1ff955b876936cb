"""GET /object_info/{node_class}: one node class; `{}` for an unknown one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """Never 404."""
    return json_answer(await bridge.runs.object_info(request.path_params["node_class"]) or b"{}")


ENDPOINT = Endpoint("/object_info/{node_class}", {"GET": show})
