"""POST /api/jobs/cancel: stop several runs, or take them out of the queue."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge import translate
from rest_bridge.answers import json_answer
from rest_bridge.bodies import read_json
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.malformed import MalformedRequest

_MOST_IDS = 256


async def cancel(bridge: Bridge, request: Request) -> Response:
    """404 naming the unknown ids if there are any, and then nothing is cancelled; ended ones count as known."""
    ids = await _ids(request)
    if ids is None:
        problem = f"job_ids must be a list of 1 to {_MOST_IDS} ids"
        return json_answer(translate.dump({"error": problem}), 400)
    queue = await bridge.runs.queue()
    unfinished = {run.run_id for run in (*queue.running, *queue.pending)}
    unknown = [each for each in ids if each not in unfinished and await bridge.runs.get(each) is None]
    if unknown:
        return json_answer(translate.dump({"error": "Job not found", "job_ids": unknown}), 404)
    told = await bridge.runs.cancel(ids)
    return json_answer(translate.dump({"cancelled": bool(told), "job_ids": told}))


async def _ids(request: Request) -> list[str] | None:
    """Each once; None: the body names none, too many, or something else."""
    try:
        body = await read_json(request)
    except MalformedRequest:
        return None
    ids = body.get("job_ids") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
        return None
    once = list(dict.fromkeys(ids))
    return once if 0 < len(once) <= _MOST_IDS else None


ENDPOINT = Endpoint("/api/jobs/cancel", {"POST": cancel}, aliased=False)
