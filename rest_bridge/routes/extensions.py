"""GET /extensions: scripts that a web UI should load."""

from __future__ import annotations

import json

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """Those of the web UI, if it is installed, and those of node packs."""
    own = bridge.ui.scripts if bridge.ui else []
    return json_answer(json.dumps([*own, *await bridge.pack_files.scripts()]).encode())


ENDPOINT = Endpoint("/extensions", {"GET": show})
