"""GET /object_info: every node class."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import JSON_TYPE
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.conditional import accepts_gzip, is_current


async def show(bridge: Bridge, request: Request) -> Response:
    """The front's text as it is, gzipped for whoever takes it; 304 for whoever has it."""
    shown = await bridge.catalogue.current()
    etag = f'W/"{shown.version}"'
    headers = {"content-type": JSON_TYPE, "vary": "accept-encoding"}
    if shown.version:
        headers |= {"etag": etag, "cache-control": "no-cache"}
        if is_current(request.headers, etag):
            return Response(b"", 304, headers)
    if shown.gzipped and accepts_gzip(request.headers):
        return Response(shown.gzipped, 200, {**headers, "content-encoding": "gzip"})
    return Response(shown.text, 200, headers)


ENDPOINT = Endpoint("/object_info", {"GET": show})
