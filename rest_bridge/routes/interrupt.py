"""POST /interrupt: stop what runs, or one run if it runs."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty
from rest_bridge.bodies import read_json
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest


async def interrupt(bridge: Bridge, request: Request) -> Response:
    """Always 200, whether something was stopped or not; without a body everything that runs stops."""
    body: object = {}
    if await request.body():
        body = await read_json(request)
    if not isinstance(body, dict):
        raise MalformedRequest("the body must be a JSON object, or empty")
    run_id = body.get("prompt_id")
    await bridge.runs.cancel_running(str(run_id) if run_id else None)
    return empty()


ENDPOINT = Endpoint("/interrupt", {"POST": interrupt})
