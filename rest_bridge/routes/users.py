"""GET /users: where settings are kept. POST /users: there is one user, so none can be added."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bodies import read_json_object
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest


async def show(bridge: Bridge, _request: Request) -> Response:
    """`migrated` tells whether the user's folder is there."""
    migrated = await asyncio.to_thread(bridge.users.root.is_dir)
    return json_answer(translate.dump({"storage": "server", "migrated": migrated}))


async def add(_bridge: Bridge, request: Request) -> Response:
    """Always refused, in the words of a server for one user."""
    if not isinstance((await read_json_object(request)).get("username"), str):
        raise MalformedRequest("`username` must be a text")
    return json_answer(translate.dump({"error": "Duplicate username."}), 400)


ENDPOINT = Endpoint("/users", {"GET": show, "POST": add})
