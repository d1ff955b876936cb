"""GET /extensions/{pack}/{file}: what a node pack or the web UI itself gives browsers, scripts above all."""

from __future__ import annotations

import mimetypes

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import empty
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.web_ui import WebFiles, cache_headers


async def show(bridge: Bridge, request: Request) -> Response:
    """404 for whatever nobody has."""
    path = f"{request.path_params['pack']}/{request.path_params['file']}"
    content = await bridge.pack_files.read(path)
    if content is not None:
        # Active content is the purpose: it comes from packs that the operator installed, never from an upload.
        headers = {"x-content-type-options": "nosniff", **cache_headers(path)}
        return Response(content, 200, headers, mimetypes.guess_type(path)[0] or "application/octet-stream")
    if bridge.ui is None:
        return empty(404)
    return await WebFiles(bridge.ui).get_response(f"extensions/{path}", request.scope)


ENDPOINT = Endpoint("/extensions/{pack}/{file:path}", {"GET": show})
