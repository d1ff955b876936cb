"""GET /api/workflow_templates/{source}/{file}: an example workflow or its picture."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import filenames
from rest_bridge.answers import empty
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.local_file import file_answer


async def show(bridge: Bridge, request: Request) -> Response:
    """404 for whatever is not offered."""
    params = request.path_params
    path = await asyncio.to_thread(bridge.templates.find, params["source"], params["file"])
    if path is None:
        return empty(404)
    return await file_answer(request, path, filenames.content_type(path.name))


ENDPOINT = Endpoint("/api/workflow_templates/{source}/{file}", {"GET": show}, aliased=False)
