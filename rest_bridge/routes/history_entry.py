"""GET /history/{prompt_id}: one finished run; `{}` for one that is unknown or not finished."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """Never 404: pollers test whether the id is in the answer."""
    run = await bridge.runs.get(request.path_params["prompt_id"])
    return json_answer(translate.history([] if run is None else [run]))


ENDPOINT = Endpoint("/history/{prompt_id}", {"GET": show})
