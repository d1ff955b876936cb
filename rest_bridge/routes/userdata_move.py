"""POST /userdata/{file}/move/{dest}: give a file of the user's another name."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import Conflict, InvalidRequest, NotFound
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.routes.userdata_file import receipt, refusal, replaces


async def move(bridge: Bridge, request: Request) -> Response:
    """The new path; 404 absent, 403 outside, 409 taken and `overwrite=false`."""
    params = request.path_params
    try:
        entry = await asyncio.to_thread(bridge.users.move, params["file"], params["dest"], replaces(request))
    except (InvalidRequest, NotFound, Conflict) as error:
        return refusal(error)
    return receipt(request, entry)


ENDPOINT = Endpoint("/userdata/{file}/move/{dest}", {"POST": move})
