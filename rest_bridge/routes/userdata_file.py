"""GET, POST and DELETE /userdata/{file}: one file of the user's; the name is one segment, its slashes as `%2F`."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import Conflict, InvalidRequest, NotFound
from rest_bridge import filenames, translate
from rest_bridge.answers import empty, json_answer, text
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.local_file import file_answer
from rest_bridge.users.files import Entry

_STYLES = "text/css"


async def show(bridge: Bridge, request: Request) -> Response:
    """The file itself; 404 absent, 403 a name that leads outside."""
    name = request.path_params["file"]
    try:
        path = await asyncio.to_thread(bridge.users.find, name)
    except (InvalidRequest, NotFound) as error:
        return refusal(error)
    # A style sheet runs nothing by itself, and the web UI loads the user's own by a link.
    media_type = _STYLES if name.endswith(".css") else filenames.content_type(name)
    return await file_answer(request, path, media_type)


async def store(bridge: Bridge, request: Request) -> Response:
    """The body is the content; 409 if there is such a file and `overwrite=false`."""
    name, overwrite = request.path_params["file"], replaces(request)
    with bridge.users.partial() as partial:
        async for chunk in request.stream():
            await asyncio.to_thread(partial.write, chunk)
        try:
            entry = await asyncio.to_thread(bridge.users.keep, partial, name, overwrite)
        except (InvalidRequest, Conflict) as error:
            return refusal(error)
    return receipt(request, entry)


async def delete(bridge: Bridge, request: Request) -> Response:
    """204, or as GET refuses."""
    try:
        await asyncio.to_thread(bridge.users.delete, request.path_params["file"])
    except (InvalidRequest, NotFound) as error:
        return refusal(error)
    return empty(204)


def replaces(request: Request) -> bool:
    """Whether a file that is there may be replaced: unless the query says `overwrite=false`."""
    return request.query_params.get("overwrite", "true") != "false"


def receipt(request: Request, entry: Entry) -> Response:
    """Where the file is now, or with `full_info=true` all about it."""
    whole = request.query_params.get("full_info", "").lower() == "true"
    return json_answer(translate.dump(file_info(entry) if whole else entry.path))


def file_info(entry: Entry) -> dict[str, object]:
    """A file in the form of `full_info`."""
    return {"path": entry.path, "size": entry.size, "modified": entry.modified, "created": entry.created}


def refusal(error: InvalidRequest | NotFound | Conflict) -> Response:
    """ComfyUI's answer to a name that cannot be served or stored."""
    if isinstance(error, NotFound):
        return empty(404)
    if isinstance(error, Conflict):
        return text("File already exists", 409)
    return empty(403) if error.reason == "UNSAFE_PATH" else text(error.message, 400)


ENDPOINT = Endpoint("/userdata/{file}", {"GET": show, "POST": store, "DELETE": delete})
