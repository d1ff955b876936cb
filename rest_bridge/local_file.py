"""A file of this machine as an answer: conditions, parts, and nothing that a browser would run in our origin."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from kit.errors import Unready
from rest_bridge import conditional, filenames
from rest_bridge.answers import empty

_CHUNK_BYTES = 256 * 1024


async def file_answer(request: Request, path: Path, media_type: str) -> Response:
    """200, 206, 304, 412 or 416; 404 if it is gone. `path` is one that was resolved inside its root."""
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError:
        return empty(404)
    facts = os.fstat(file.fileno())
    state = conditional.FileState(facts.st_size, facts.st_mtime_ns)
    plan = conditional.plan(request.headers, state)
    headers = filenames.passive_headers(media_type)
    if plan.status == 416:
        headers["content-range"] = f"bytes */{state.size}"
    else:
        headers |= {"etag": state.etag, "last-modified": state.last_modified}
    if plan.status in (200, 206):
        headers |= {"accept-ranges": "bytes", "content-length": str(plan.length)}
    if plan.status == 206:
        headers["content-range"] = f"bytes {plan.offset}-{plan.offset + plan.length - 1}/{state.size}"
    if request.method == "HEAD" or not plan.length:
        file.close()
        return Response(b"", plan.status, headers)
    return StreamingResponse(_part(file, plan), plan.status, headers)


async def _part(file: BinaryIO, plan: conditional.Plan) -> AsyncIterator[bytes]:
    with file:
        file.seek(plan.offset)
        left = plan.length
        while left:
            chunk = await asyncio.to_thread(file.read, min(left, _CHUNK_BYTES))
            if not chunk:
                raise Unready("the file changed while it was read", reason="FILE_CHANGED", missing=left)
            left -= len(chunk)
            yield chunk
