"""GET /internal/logs/raw: the bridge's last log lines one by one."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import messages, translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """Oldest first, with the size of a terminal that there is none of."""
    return json_answer(translate.dump(messages.log_entries(bridge.logbook.lines())))


ENDPOINT = Endpoint("/internal/logs/raw", {"GET": show}, aliased=False)
