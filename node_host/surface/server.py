"""server: the web server's object, as far as packs touch it when they are imported. Nothing is served here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from node_host.surface import running

_LOG = logging.getLogger("heliograph.packs")
F = TypeVar("F", bound=Callable[..., Any])


class BinaryEventTypes:
    """Numbers of binary messages."""

    PREVIEW_IMAGE = 1
    UNENCODED_PREVIEW_IMAGE = 2
    TEXT = 3


class Routes:
    """Decorators that are accepted; requests never arrive."""

    def __init__(self) -> None:
        self.refused: list[str] = []

    def route(self, method: str, path: str, **_: Any) -> Callable[[F], F]:
        """Returns what it decorates, unchanged."""

        def keep(handler: F) -> F:
            self.refused.append(f"{method} {path}")
            _LOG.info("the route %s %s of a pack is not served", method, path)
            return handler

        return keep

    def get(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("GET", path)

    def post(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("POST", path)

    def put(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("PUT", path)

    def patch(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("PATCH", path)

    def delete(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("DELETE", path)

    def head(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("HEAD", path)

    def view(self, path: str, **_: Any) -> Callable[[F], F]:
        """See `route`."""
        return self.route("*", path)

    def static(self, prefix: str, path: Any, **_: Any) -> None:
        """See `route`."""
        self.refused.append(f"STATIC {prefix}")


class _App:
    """The web application: takes everything, serves nothing."""

    def __init__(self) -> None:
        self.router = self
        self.middlewares: list[Any] = []
        self.on_startup: list[Any] = []
        self.on_shutdown: list[Any] = []

    def add_routes(self, *_: Any, **__: Any) -> None:
        """Nothing is served."""

    add_route = add_get = add_post = add_static = add_subapp = add_routes


class PromptServer:
    """`instance` is there from the start."""

    instance: PromptServer

    def __init__(self) -> None:
        self.routes = Routes()
        self.app = _App()
        self.client_id: str | None = None
        self.last_node_id: str | None = None
        self.last_prompt_id: str | None = None
        self.number = 0
        self.supports = ["custom_nodes_from_web"]
        self.sockets: dict[str, Any] = {}
        self.loop: asyncio.AbstractEventLoop | None = None
        self.on_prompt_handlers: list[Any] = []
        self.user_manager = self.prompt_queue = None

    def add_routes(self) -> None:
        """Nothing is served."""

    def add_on_prompt_handler(self, handler: Any) -> None:
        """Prompts do not come by here."""
        _LOG.info("a pack's handler of prompts is not called: prompts do not come by its process")

    def send_sync(self, event: Any, data: Any, sid: str | None = None) -> None:
        """Progress is told to clients; other messages have nowhere to go."""
        if event == "progress" and isinstance(data, dict):
            running.progress(float(data.get("value", 0)), float(data.get("max", 1)))
        else:
            _LOG.debug("a message %r of a pack goes nowhere", event)

    async def send(self, event: Any, data: Any, sid: str | None = None) -> None:
        """See `send_sync`."""
        self.send_sync(event, data, sid)

    async def send_json(self, event: Any, data: Any, sid: str | None = None) -> None:
        """See `send_sync`."""
        self.send_sync(event, data, sid)

    def send_progress_text(self, text: Any, node_id: Any, sid: Any = None) -> None:
        """Goes nowhere."""

    def queue_updated(self) -> None:
        """There is no queue here."""


PromptServer.instance = PromptServer()
