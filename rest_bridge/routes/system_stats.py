"""GET /system_stats: versions and memory."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """The command line that ComfyUI shows in `argv` is left out: it names folders."""
    return json_answer(translate.system_stats(await bridge.runs.system()))


ENDPOINT = Endpoint("/system_stats", {"GET": show})
