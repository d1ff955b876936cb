"""GET /: a page that shows queue, progress, recent pictures, models and health; its script asks the other routes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.page import page, policy


async def show(_bridge: Bridge, _request: Request) -> Response:
    """The same for everybody; asked for anew each time."""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "cache-control": "no-cache",
        "pragma": "no-cache",
        "expires": "0",
        "content-security-policy": policy(),
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(page(), 200, headers)


ENDPOINT = Endpoint("/", {"GET": show}, aliased=False)
