"""GET /queue: running and pending runs. POST /queue: take pending ones out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty, json_answer
from rest_bridge.bodies import ids_of, read_json_object
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """Five-entry items, next one first."""
    return json_answer(await bridge.queue.text())


async def change(bridge: Bridge, request: Request) -> Response:
    """`clear` and `delete` concern pending runs only."""
    body = await read_json_object(request)
    if body.get("clear"):
        await bridge.runs.delete_pending([], everything=True)
    if "delete" in body:
        run_ids = ids_of(body["delete"])
        if run_ids:
            await bridge.runs.delete_pending(run_ids, everything=False)
    return empty()


ENDPOINT = Endpoint("/queue", {"GET": show, "POST": change})
