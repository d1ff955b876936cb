"""GET /view: a stored file, a part of it, or a preview of a picture."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kit.errors import InvalidRequest, NotFound, Unready
from rest_bridge import conditional, filenames
from rest_bridge.answers import empty
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.pictures import MAX_ENCODED_BYTES

_DEFAULT_QUALITY = 90


async def view(bridge: Bridge, request: Request) -> Response:
    """Refusals are empty: 400 unsafe name or unknown type, 403 subfolder outside, 404 absent."""
    ref = _asked(request)
    if isinstance(ref, int):
        return empty(ref)
    try:
        stat = await bridge.artifacts.stat(ref)
    except NotFound:
        return empty(404)
    except InvalidRequest:  # a link that leaves the area
        return empty(403)
    file = conditional.FileState(stat.size_bytes, stat.modified_ns)
    query = request.query_params
    if "preview" in query or query.get("channel") in ("rgb", "a"):
        return await _picture(bridge, request, ref, file.size)
    return await _plain(bridge, request, ref, file)


def _asked(request: Request) -> artifact.ArtifactRef | int:
    """The file that the query names, or the status of its refusal."""
    query = request.query_params
    if "filename" not in query:
        return 404
    filename, area = filenames.annotated(query["filename"])
    area = area or query.get("type", "output")
    if filenames.is_unsafe(filename) or area not in filenames.AREAS:
        return 400
    subfolder = filenames.inside(query.get("subfolder", ""))
    if subfolder is None:
        return 403
    return artifact.ArtifactRef(type=area, subfolder=subfolder, filename=filename.rpartition("/")[2])


async def _plain(bridge: Bridge, request: Request, ref: artifact.ArtifactRef, file: conditional.FileState) -> Response:
    plan = conditional.plan(request.headers, file)
    headers = filenames.download_headers(ref.filename, filenames.content_type(ref.filename))
    if plan.status == 416:
        return Response(b"", 416, {**headers, "content-range": f"bytes */{file.size}"})
    headers |= {"etag": file.etag, "last-modified": file.last_modified}
    if plan.status in (304, 412):
        return Response(b"", plan.status, headers)
    headers |= {"accept-ranges": "bytes", "content-length": str(plan.length)}
    if plan.status == 206:
        headers["content-range"] = f"bytes {plan.offset}-{plan.offset + plan.length - 1}/{file.size}"
    if request.method == "HEAD" or plan.length == 0:
        return Response(b"", plan.status, headers)
    chunks = bridge.artifacts.download(ref, plan.offset, plan.length)
    try:
        first = await anext(chunks, b"")  # before the status is sent: the file may have vanished
    except NotFound:
        return empty(404)
    body = _exactly(first, chunks, plan.length)
    return StreamingResponse(body, plan.status, headers)


async def _exactly(first: bytes, rest: AsyncGenerator[bytes], length: int) -> AsyncGenerator[bytes]:
    """As many bytes as were announced; a file that shrank meanwhile breaks the connection."""
    sent = len(first)
    async with aclosing(rest):
        yield first
        async for chunk in rest:
            sent += len(chunk)
            yield chunk
    if sent != length:
        raise Unready("the file changed while it was read", reason="FILE_CHANGED", announced=length, sent=sent)


async def _picture(bridge: Bridge, request: Request, ref: artifact.ArtifactRef, size: int) -> Response:
    if size > MAX_ENCODED_BYTES:
        raise InvalidRequest("the file is too large to be decoded", reason="IMAGE_TOO_LARGE", bytes=size)
    data = b"".join([chunk async for chunk in bridge.artifacts.download(ref, 0, size)])
    query = request.query_params
    channel = query.get("channel", "")
    if "preview" in query:
        wanted, _, quality = query["preview"].partition(";")
        image_format = "jpeg" if wanted == "jpeg" and "a" not in channel else "webp"
        level = min(100, int(quality)) if quality.isascii() and quality.isdigit() else _DEFAULT_QUALITY
        body = await bridge.darkroom.preview(data, image_format, level, rgb=channel == "rgb")
        return Response(body, 200, filenames.download_headers(ref.filename, f"image/{image_format}"))
    make = bridge.darkroom.without_alpha if channel == "rgb" else bridge.darkroom.alpha_only
    return Response(await make(data), 200, filenames.download_headers(ref.filename, "image/png"))


ENDPOINT = Endpoint("/view", {"GET": view})
