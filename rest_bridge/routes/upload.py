"""What both upload routes share: the form, the wanted place, and storing it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidRequest
from rest_bridge import filenames, translate
from rest_bridge.answers import empty, json_answer
from rest_bridge.bridge import Bridge
from rest_bridge.clients import Readable
from rest_bridge.malformed import MalformedRequest

_MAX_FILES = 8
_MAX_FIELDS = 64
_REFUSED_NAMES = frozenset({"UNSAFE_PATH", "NO_NAME", "BAD_NAME", "UNKNOWN_AREA"})


@dataclass(frozen=True)
class Wanted:
    """A posted file and where it should go."""

    file: UploadFile
    ref: artifact.ArtifactRef
    overwrite: bool


@asynccontextmanager
async def posted_form(request: Request) -> AsyncIterator[FormData]:
    """The whole form; files beyond a mebibyte wait on disk, so that a client that vanishes leaves nothing behind."""
    async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FIELDS) as form:
        yield form


def wanted(form: FormData) -> Wanted | None:
    """What the form asks for; None: answer 400. Raises MalformedRequest where ComfyUI answers 500."""
    images = form.getlist("image")
    if not images or images[0] == "":
        return None
    file = images[0]
    if not isinstance(file, UploadFile) or not file.filename:
        raise MalformedRequest("`image` must be a file with a name")
    area = _text(form, "type", "input")
    if area not in filenames.AREAS:
        raise MalformedRequest("`type` must be input, output or temp")
    name, subfolder = filenames.upload_name(file.filename), filenames.inside(_text(form, "subfolder", ""))
    if name is None or subfolder is None:
        return None
    ref = artifact.ArtifactRef(type=area, subfolder=subfolder, filename=name)
    return Wanted(file, ref, _text(form, "overwrite", "") in ("true", "1"))


async def store(bridge: Bridge, ref: artifact.ArtifactRef, overwrite: bool, source: Readable) -> Response:
    """Streams it to the front; the answer tells the name it got."""
    try:
        return json_answer(translate.upload_receipt(await bridge.artifacts.upload(ref, overwrite, source)))
    except InvalidRequest as error:
        if error.reason in _REFUSED_NAMES:
            return empty(400)
        raise


def _text(form: FormData, name: str, default: str) -> str:
    """First value of a field; a file in its place counts as nothing we know."""
    values = form.getlist(name)
    if not values:
        return default
    return values[0] if isinstance(values[0], str) else ""
