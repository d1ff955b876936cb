"""GET /history: finished runs, oldest first. POST /history: forget some."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bodies import ids_of, read_json_object
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest

_INT32_MAX = 2**31 - 1


async def show(bridge: Bridge, request: Request) -> Response:
    """`max_items` alone: the last ones; `offset`: counted from the oldest, negative as if not given."""
    max_items, offset = _whole(request, "max_items"), _whole(request, "offset")
    if max_items is not None and max_items <= 0:
        return json_answer(b"{}")
    if offset is not None and offset < 0:
        offset = None
    return json_answer(translate.history(await bridge.runs.history(max_items, offset)))


async def change(bridge: Bridge, request: Request) -> Response:
    """`clear` and `delete`; unknown ids are ignored."""
    body = await read_json_object(request)
    if body.get("clear"):
        await bridge.runs.delete_history([], everything=True)
    if "delete" in body:
        run_ids = ids_of(body["delete"])
        if run_ids:
            await bridge.runs.delete_history(run_ids, everything=False)
    return empty()


def _whole(request: Request, name: str) -> int | None:
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        return max(-1, min(int(given), _INT32_MAX))
    except ValueError as problem:
        raise MalformedRequest("a whole number is needed in the query") from problem


ENDPOINT = Endpoint("/history", {"GET": show, "POST": change})
