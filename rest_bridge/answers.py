"""Responses in the exact forms ComfyUI uses: JSON, nothing, short text, and the text of a broken request."""

from __future__ import annotations

import math

from starlette.responses import Response

from kit.errors import HeliographError, InvalidPrompt
from kit.status import http_status, retry_after_s
from rest_bridge import translate

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


def json_answer(body: bytes, status: int = 200) -> Response:
    """Ready-made JSON."""
    return Response(body, status, {"content-type": JSON_TYPE})


def empty(status: int = 200) -> Response:
    """No body and no content type."""
    return Response(b"", status)


def text(body: str, status: int, headers: dict[str, str] | None = None) -> Response:
    """Short plain text."""
    return Response(body, status, {"content-type": TEXT_TYPE, **(headers or {})})


def trouble(problem: str = "") -> Response:
    """The 500 that ComfyUI sends for requests it cannot read; `problem`, where it is known, follows its text."""
    return text(f"{TROUBLE}\n\n{problem}" if problem else TROUBLE, 500)


def error_answer(error: HeliographError) -> Response:
    """A typed error by the one table: ComfyUI's own body where the error carries one, else an error object."""
    body = error.body if isinstance(error, InvalidPrompt) and error.body is not None else None
    response = json_answer(translate.dump(body or translate.error_object(error)), http_status(error))
    wait_s = retry_after_s(error)
    if wait_s is not None:
        response.headers["retry-after"] = str(math.ceil(wait_s))
    return response
