"""GET /api/jobs: runs wherever they stand, filtered, sorted and in parts."""

from __future__ import annotations

import asyncio

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from kit.errors import InvalidRequest
from rest_bridge import jobs, translate
from rest_bridge.answers import json_answer
from rest_bridge.bridge import Bridge, Endpoint

_MOST = 2**31 - 1


async def show(bridge: Bridge, request: Request) -> Response:
    """400 with `{"error"}` for a query that makes no sense."""
    try:
        asked = _asked(request.query_params)
    except InvalidRequest as error:
        return json_answer(translate.dump({"error": error.message}), 400)
    waiting: list[jobs.Job] = []
    if not asked.statuses <= jobs.FINISHED:
        waiting = jobs.chosen(await bridge.queue.jobs(), asked)
    if not asked.statuses & jobs.FINISHED:
        return json_answer(translate.dump(jobs.page(waiting, asked)))
    # After the queue: a run that ends between the two questions is told once, as ended.
    skip = 0 if waiting else asked.offset  # what precedes the part may be among those that wait
    wanted = None if asked.limit is None else asked.offset + asked.limit - skip
    runs, total = await bridge.runs.finished(jobs.selection(asked), skip, wanted)
    body = await asyncio.to_thread(lambda: translate.dump(jobs.merged(waiting, runs, asked, skip, total)))
    return json_answer(body)


def _asked(query: QueryParams) -> jobs.Asked:
    """What the query says. Raises InvalidRequest with a sentence for the client."""
    named = [word.strip().lower() for word in query.get("status", "").split(",") if word.strip()]
    unknown = sorted(set(named) - set(jobs.STATUSES))
    if unknown:
        raise InvalidRequest(f"unknown status: {', '.join(unknown)[:200]}; known are {', '.join(jobs.STATUSES)}")
    limit = _whole(query, "limit")
    if limit is not None and limit <= 0:
        raise InvalidRequest("limit must be a positive whole number")
    return jobs.Asked(
        statuses=frozenset(named or jobs.STATUSES),
        workflow_id=query.get("workflow_id") or None,
        sort_by=_one_of(query, "sort_by", jobs.SORT_KEYS, "created_at"),
        newest_first=_one_of(query, "sort_order", jobs.SORT_ORDERS, "desc") == "desc",
        limit=limit,
        offset=max(0, _whole(query, "offset") or 0),
    )


def _one_of(query: QueryParams, name: str, known: tuple[str, ...], default: str) -> str:
    value = query.get(name, default).lower()
    if value not in known:
        raise InvalidRequest(f"{name} must be one of {', '.join(known)}")
    return value


def _whole(query: QueryParams, name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        return max(-_MOST, min(int(text), _MOST))
    except ValueError:
        raise InvalidRequest(f"{name} must be a whole number") from None


ENDPOINT = Endpoint("/api/jobs", {"GET": show}, aliased=False)
