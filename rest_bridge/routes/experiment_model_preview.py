"""GET /experiment/models/preview/{folder}/{path_index}/{filename}: a model's picture as webp; 404 if it has none."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidModel, InvalidRequest, NotFound, Unsupported
from rest_bridge import filenames, model_pictures
from rest_bridge.answers import empty
from rest_bridge.bridge import Bridge, Endpoint

_QUALITY = 90


async def show(bridge: Bridge, request: Request) -> Response:
    """A picture beside the file if the folder can be read from here, else one that the file itself holds."""
    params = request.path_params
    index = params["path_index"]
    if not (index.isascii() and index.isdigit() and len(index) < 4):
        return empty(404)
    try:
        picture = await _picture(bridge, params["folder"], int(index), params["filename"])
    except (NotFound, InvalidRequest):
        return empty(404)
    return empty(404) if picture is None else Response(picture, 200, filenames.passive_headers("image/webp"))


async def _picture(bridge: Bridge, folder: str, index: int, name: str) -> bytes | None:
    listed = await bridge.models.listed(folder)
    if not any(each.file.name == name and each.path_index == index for each in listed):
        return None
    paths = (await bridge.models.folder_paths()).get(folder, [])
    if index < len(paths):
        found = await asyncio.to_thread(model_pictures.beside, Path(paths[index]), name)
        if found is not None:
            return await bridge.darkroom.preview(found, "webp", _QUALITY, rgb=False)
    try:
        metadata = await bridge.models.metadata(folder, name)
    except (InvalidModel, Unsupported):
        return None
    for cover in model_pictures.inside(metadata):
        try:
            return await bridge.darkroom.preview(cover, "webp", _QUALITY, rgb=False)
        except InvalidRequest:
            continue
    return None


ENDPOINT = Endpoint("/experiment/models/preview/{folder}/{path_index}/{filename:path}", {"GET": show})
