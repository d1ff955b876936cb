"""GET /v2/userdata?path=: everything below a folder of the user's, with folders."""

from __future__ import annotations

import asyncio
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidRequest
from rest_bridge import translate
from rest_bridge.answers import json_answer, text
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.users.files import Entry


async def show(bridge: Bridge, request: Request) -> Response:
    """Folders first, by lower-case name; paths relative to the user's folder."""
    wanted = request.query_params.get("path", "")
    try:
        folder = await asyncio.to_thread(bridge.users.folder, wanted)
    except InvalidRequest:
        return text("Invalid path", 403)
    if folder is None:
        return text("Requested path not found", 404) if wanted.strip("/.") else json_answer(b"[]")
    if not folder.is_dir():
        return text("Requested path is not a directory", 400)
    entries = await asyncio.to_thread(_sorted, bridge, folder)
    return json_answer(translate.dump([_shown(entry) for entry in entries]))


def _sorted(bridge: Bridge, folder: Path) -> list[Entry]:
    entries = bridge.users.below(folder, deep=True)
    return sorted(entries, key=lambda entry: (not entry.is_folder, _name(entry).lower(), entry.path))


def _name(entry: Entry) -> str:
    return entry.path.rpartition("/")[2]


def _shown(entry: Entry) -> dict[str, object]:
    if entry.is_folder:
        return {"name": _name(entry), "path": entry.path, "type": "directory"}
    about = {"name": _name(entry), "path": entry.path, "type": "file"}
    return {**about, "size": entry.size, "modified": entry.modified}


ENDPOINT = Endpoint("/v2/userdata", {"GET": show})
