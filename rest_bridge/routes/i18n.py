"""GET /i18n: translations that node packs bring along."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(_bridge: Bridge, _request: Request) -> Response:
    """None: this server holds no node packs' files."""
    return json_answer(b"{}")


ENDPOINT = Endpoint("/i18n", {"GET": show})
