"""POST /upload/mask: store a picture's colours with another one's alpha."""

from __future__ import annotations

import io
import json

from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidRequest, NotFound
from rest_bridge import filenames, translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest
from rest_bridge.pictures import MAX_ENCODED_BYTES
from rest_bridge.routes.upload import posted_form, store, wanted


class _Bytes:
    """Bytes as an upload."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)


async def upload(bridge: Bridge, request: Request) -> Response:
    """As /upload/image; if the original is missing nothing is written, and the answer is still 200."""
    async with posted_form(request) as form:
        asked = wanted(form)
        if asked is None:
            return empty(400)
        original = await _read(bridge, _original(form))
        if original is None:
            return json_answer(translate.upload_receipt(asked.ref))
        merged = await bridge.darkroom.with_alpha_of(original, await asked.file.read())
        return await store(bridge, asked.ref, asked.overwrite, _Bytes(merged))


def _original(form: FormData) -> artifact.ArtifactRef | None:
    """The picture that `original_ref` names; None: no file can have that name."""
    given = form.getlist("original_ref")
    try:
        named = json.loads(given[0]) if given and isinstance(given[0], str) else None
    except (ValueError, RecursionError) as problem:
        raise MalformedRequest("`original_ref` is not JSON") from problem
    if not isinstance(named, dict) or not isinstance(named.get("filename"), str):
        raise MalformedRequest("`original_ref` must be a JSON object with a `filename`")
    filename, area = filenames.annotated(named["filename"])
    area = area or str(named.get("type") or "output")
    subfolder = filenames.inside(str(named.get("subfolder") or ""))
    if filenames.is_unsafe(filename) or subfolder is None or area not in filenames.AREAS:
        return None
    return artifact.ArtifactRef(type=area, subfolder=subfolder, filename=filename.rpartition("/")[2])


async def _read(bridge: Bridge, ref: artifact.ArtifactRef | None) -> bytes | None:
    if ref is None:
        return None
    try:
        size = (await bridge.artifacts.stat(ref)).size_bytes
    except (NotFound, InvalidRequest):
        return None
    if size > MAX_ENCODED_BYTES:
        raise InvalidRequest("the original is too large to be decoded", reason="IMAGE_TOO_LARGE", bytes=size)
    return b"".join([chunk async for chunk in bridge.artifacts.download(ref, 0, size)])


ENDPOINT = Endpoint("/upload/mask", {"POST": upload})
