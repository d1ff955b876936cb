"""GET /embeddings: names of textual inversions, without ending."""

from __future__ import annotations

import posixpath

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """As they are written after `embedding:` in a prompt."""
    names = await bridge.models.files("embeddings")
    return json_answer(translate.dump([posixpath.splitext(name)[0] for name in names]))


ENDPOINT = Endpoint("/embeddings", {"GET": show})
