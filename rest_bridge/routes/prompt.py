"""POST /prompt: submit a run. GET /prompt: how many are unfinished."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kit.serve import MAX_MESSAGE_BYTES
from rest_bridge import translate
from rest_bridge.answers import json_answer, text
from rest_bridge.bodies import read_json_object
from rest_bridge.bridge import Bridge, Endpoint

# Beside the prompt the message carries ids and framing.
_MAX_RUN_BYTES = MAX_MESSAGE_BYTES - 64 * 1024


async def submit(bridge: Bridge, request: Request) -> Response:
    """The receipt, or 400 with what is wrong in ComfyUI's words."""
    run = translate.submit_request(await read_json_object(request))
    size = run.ByteSize()
    if size > _MAX_RUN_BYTES:
        return text(f"Maximum prompt size {_MAX_RUN_BYTES} exceeded, actual size {size}", 413)
    return json_answer(translate.receipt(await bridge.runs.submit(run)))


async def count(bridge: Bridge, _request: Request) -> Response:
    """{"exec_info": {"queue_remaining": N}}."""
    return json_answer(translate.dump(translate.exec_info(await bridge.runs.unfinished())))


ENDPOINT = Endpoint("/prompt", {"GET": count, "POST": submit})
