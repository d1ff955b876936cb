"""GET /view_metadata/{folder}?filename=: the metadata that a safetensors file carries."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidModel, InvalidRequest, NotFound, Unsupported
from rest_bridge import translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """404 for other files, absent or unreadable ones, and those without metadata."""
    filename = request.query_params.get("filename", "")
    if not filename.endswith(".safetensors"):
        return empty(404)
    try:
        metadata = await bridge.models.metadata(request.path_params["folder"], filename)
    except (NotFound, InvalidModel, InvalidRequest, Unsupported):
        return empty(404)
    return json_answer(translate.dump(metadata)) if metadata else empty(404)


ENDPOINT = Endpoint("/view_metadata/{folder}", {"GET": show})
