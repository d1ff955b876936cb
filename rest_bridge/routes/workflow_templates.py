"""GET /workflow_templates: names of example workflows, by where they come from."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, _request: Request) -> Response:
    """{source: [name without `.json`]}."""
    return json_answer(translate.dump(await asyncio.to_thread(bridge.templates.names)))


ENDPOINT = Endpoint("/workflow_templates", {"GET": show})
