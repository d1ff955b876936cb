"""POST /api/jobs/{id}/cancel: stop a run, or take it out of the queue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def cancel(bridge: Bridge, request: Request) -> Response:
    """Always 200: `cancelled` is false where there was nothing to stop (ended, unknown, cancelled before)."""
    told = await bridge.runs.cancel([request.path_params["id"]])
    return json_answer(translate.dump({"cancelled": bool(told)}))


ENDPOINT = Endpoint("/api/jobs/{id}/cancel", {"POST": cancel}, aliased=False)
