"""POST /upload/image: store a file, whatever it is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.routes.upload import posted_form, store, wanted


async def upload(bridge: Bridge, request: Request) -> Response:
    """{"name", "subfolder", "type"}; the name is another one if it was taken by other bytes."""
    async with posted_form(request) as form:
        asked = wanted(form)
        if asked is None:
            return empty(400)
        return await store(bridge, asked.ref, asked.overwrite, asked.file)


ENDPOINT = Endpoint("/upload/image", {"POST": upload})
