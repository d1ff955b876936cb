"""PATCH /internal/logs/subscribe: be told of new log lines on one's socket, or not any more."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty
from rest_bridge.bodies import read_json_object
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest


async def subscribe(bridge: Bridge, request: Request) -> Response:
    """200 also for a client that is not connected."""
    body = await read_json_object(request)
    client_id = body.get("clientId")
    if not isinstance(client_id, str) or "enabled" not in body:
        raise MalformedRequest("`clientId` must be a text, and `enabled` must be there")
    bridge.logbook.subscribe(client_id, bool(body["enabled"]))
    return empty()


ENDPOINT = Endpoint("/internal/logs/subscribe", {"PATCH": subscribe}, aliased=False)
