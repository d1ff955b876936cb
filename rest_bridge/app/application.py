"""The ASGI application: endpoints under both names, refusals in ComfyUI's forms."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from kit import telemetry
from kit.errors import HeliographError
from rest_bridge.answers import empty, error_answer, text, trouble
from rest_bridge.app.paths import Paths
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.feed import Feed
from rest_bridge.guard import Guard, OriginRules
from rest_bridge.malformed import MalformedRequest
from rest_bridge.routes import ENDPOINTS, ws
from rest_bridge.web_ui import WebFiles

_ALIAS = "/api"
_OWN_PAGE = "/heliograph"
_CLIENT_CLOSED = 499


def application(bridge: Bridge, feed: Feed, rules: OriginRules) -> FastAPI:
    """Wires endpoints and middleware; the feed runs as long as the application does."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        feed.start()
        yield
        await feed.stop()

    # FastAPI's own pages and its redirects of trailing slashes are paths that ComfyUI does not have.
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.router.routes.append(_Endpoints(bridge))
    serve_socket = partial(_socket, bridge)
    app.router.routes.extend(WebSocketRoute(prefix + "/ws", serve_socket) for prefix in ("", _ALIAS))
    if bridge.ui is not None:
        app.router.routes.append(Mount("/", WebFiles(bridge.ui)))  # last: whatever nobody else answers
    app.add_middleware(Guard, rules=rules, max_body_bytes=bridge.max_upload_bytes, body_stall_s=bridge.body_stall_s)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(HeliographError, _typed_error)
    app.add_exception_handler(MalformedRequest, _malformed)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _trouble)  # boundary: the client gets the text, the log the traceback
    return app


class _Endpoints(BaseRoute):
    """All endpoints as one route: a path is split as it was sent, which Starlette's own routes cannot do."""

    def __init__(self, bridge: Bridge) -> None:
        endpoints = _endpoints(has_web_ui=bridge.ui is not None)
        self._paths = Paths(endpoints)
        self._routes = {endpoint.path: _route(bridge, endpoint) for endpoint in endpoints}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Fully, whatever the method: the route itself refuses a wrong one."""
        found = self._paths.find(scope["raw_path"]) if scope["type"] == "http" else None
        if found is None:
            return Match.NONE, {}
        endpoint, params = found
        return Match.FULL, {"endpoint": self._routes[endpoint.path], "path_params": params}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the endpoint that `matches` found."""
        await scope["endpoint"].handle(scope, receive, send)


def _endpoints(*, has_web_ui: bool) -> tuple[Endpoint, ...]:
    """Our own page has a path of its own too, and makes room for the web UI at `/`."""
    own = next(endpoint for endpoint in ENDPOINTS if endpoint.path == "/")
    others = tuple(endpoint for endpoint in ENDPOINTS if endpoint is not own or not has_web_ui)
    return (*others, replace(own, path=_OWN_PAGE))


def _route(bridge: Bridge, endpoint: Endpoint) -> Route:
    """One route for all methods of a path, so that a wrong method is told all of them."""

    async def dispatch(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        with telemetry.span(telemetry.SPAN_RPC, method=f"{method} {endpoint.path}"):
            return await endpoint.handlers[method](bridge, request)

    return Route("/", dispatch, methods=list(endpoint.handlers))  # its path is not looked at


async def _socket(bridge: Bridge, websocket: WebSocket) -> None:
    await ws.serve(bridge, websocket)


Answerer = Callable[[Request, Exception], Awaitable[Response]]


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:  # no such path; ComfyUI's answer comes from its static files
        return Response(b"", 404, {"content-type": "application/octet-stream"})
    if error.status_code == 405:
        allowed = sorted(name.strip() for name in (error.headers or {}).get("Allow", "").split(","))
        return text("405: Method Not Allowed", 405, {"allow": ",".join(allowed)})
    if error.status_code == 413:
        return text(error.detail, 413)
    return empty(error.status_code)


async def _typed_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HeliographError)
    return error_answer(error)


async def _malformed(_request: Request, error: Exception) -> Response:
    return trouble(str(error))


async def _trouble(_request: Request, _error: Exception) -> Response:
    return trouble()


async def _gone(_request: Request, _error: Exception) -> Response:
    return empty(_CLIENT_CLOSED)  # nobody reads it
