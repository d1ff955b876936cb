"""GET /internal/logs: the bridge's last log lines as one JSON string."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.logbook import as_text


async def show(bridge: Bridge, _request: Request) -> Response:
    """Oldest first."""
    return json_answer(translate.dump(as_text(bridge.logbook.lines())))


ENDPOINT = Endpoint("/internal/logs", {"GET": show}, aliased=False)
