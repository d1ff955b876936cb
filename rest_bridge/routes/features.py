"""GET /features: what this server supports beyond the first protocol."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """The same object that answers feature_flags on a socket."""
    return json_answer(translate.dump(translate.features(bridge.max_upload_bytes)))


ENDPOINT = Endpoint("/features", {"GET": show})
