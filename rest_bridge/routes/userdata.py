"""GET /userdata?dir=: the user's files in a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidRequest
from rest_bridge import translate
from rest_bridge.answers import json_answer, text
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.routes.userdata_file import file_info
from rest_bridge.users.files import Entry


async def show(bridge: Bridge, request: Request) -> Response:
    """Files only, paths relative to `dir`; those whose name begins with a dot are not told."""
    query = request.query_params
    wanted = query.get("dir", "")
    if not wanted:
        return text("Directory not provided", 400)
    try:
        folder = await asyncio.to_thread(bridge.users.folder, wanted)
    except InvalidRequest:
        return text("Invalid directory", 403)
    if folder is None:
        return text("Directory not found", 404)
    deep = query.get("recurse", "").lower() == "true"
    files = await asyncio.to_thread(_files, bridge, folder, deep)
    split, info = query.get("split", "").lower() == "true", query.get("full_info", "").lower() == "true"
    return json_answer(translate.dump([_shown(name, entry, split, info) for name, entry in files]))


def _files(bridge: Bridge, folder: Path, deep: bool) -> Sequence[tuple[str, Entry]]:
    top = bridge.users.root.resolve()
    found = []
    for entry in bridge.users.below(folder, deep):
        name = (top / entry.path).relative_to(folder).as_posix()
        if not entry.is_folder and not any(part.startswith(".") for part in name.split("/")):
            found.append((name, entry))
    return sorted(found, key=lambda item: item[0])


def _shown(name: str, entry: Entry, split: bool, info: bool) -> object:
    if info:
        return {**file_info(entry), "path": name}
    return [name, *name.split("/")] if split else name


ENDPOINT = Endpoint("/userdata", {"GET": show})
