"""GET /api/jobs/{id}: one run wherever it stands, with its outputs and what was submitted."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import jobs, translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint


async def show(bridge: Bridge, request: Request) -> Response:
    """404 with `{"error"}` for an id that nobody submitted, or whose history is gone."""
    run = await bridge.runs.get(request.path_params["id"])
    if run is None:
        return json_answer(translate.dump({"error": "Job not found"}), 404)
    return json_answer(await asyncio.to_thread(lambda: translate.dump(jobs.detail(run))))


ENDPOINT = Endpoint("/api/jobs/{id}", {"GET": show}, aliased=False)
