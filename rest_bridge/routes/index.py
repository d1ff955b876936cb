"""GET /: a small page that says what this is and how it does."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import Response

from kit.errors import HeliographError
from rest_bridge.bridge import Bridge, Endpoint

_LINKS = ("/queue", "/history?max_items=20", "/system_stats", "/models", "/object_info", "/features")
_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-cache",
    "pragma": "no-cache",
    "expires": "0",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Heliograph</title>
<meta http-equiv="refresh" content="5">
<style>body{{font:16px/1.5 sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}}
dt{{float:left;width:9rem}}</style>
</head><body><h1>Heliograph</h1>
<p>ComfyUI workflows as a service. This server speaks ComfyUI's HTTP and WebSocket API; it has no web UI of its own.</p>
<dl>{facts}</dl><ul>{links}</ul></body></html>
"""


async def show(bridge: Bridge, _request: Request) -> Response:
    """Renews itself every five seconds."""
    facts = {**await _queue(bridge), "Connected clients": str(len(bridge.sockets))}
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    links = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>' for link in _LINKS)
    return Response(_PAGE.format(facts=rows, links=links), 200, _HEADERS)


async def _queue(bridge: Bridge) -> dict[str, str]:
    try:
        queue = await bridge.runs.queue()
        system = await bridge.runs.system()
    except HeliographError as error:
        return {"Orchestrator": f"not reachable: {error}"}
    return {"Running": str(len(queue.running)), "Pending": str(len(queue.pending)), "Workers": str(system.workers)}


ENDPOINT = Endpoint("/", {"GET": show}, aliased=False)
