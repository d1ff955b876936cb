"""What is decided before any endpoint: who may call from a browser, CORS, OPTIONS, and how large a body may be."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rest_bridge.caching import cache_control

Policy = Literal["strict", "comfyui"]
# urlsplit would take `[::1].evil.example` for an address of ours.
_HOST = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]@/?#\\:\s]+))(?::(?P<port>[0-9]{0,5}))?")
_LAST_PORT = 65535


@dataclass(frozen=True)
class OriginRules:
    """Which Host and Origin headers pass."""

    policy: Policy = "strict"
    allowed_hosts: frozenset[str] = frozenset()
    cors_origin: str = ""

    def allows(self, host: str | None, origin: str | None, local_address: str) -> bool:
        """False: answer 403. `local_address` is the address the connection came in on."""
        if self.policy == "comfyui":
            return bool(self.cors_origin) or self._allows_as_comfyui(host, origin)
        if self.cors_origin == "*":
            return True
        if host is not None and not self._is_ours(host, local_address):
            return False  # a foreign name that resolves to us: DNS rebinding
        if origin is None or (self.cors_origin and origin == self.cors_origin):
            return True
        return host is not None and _same_place(host, origin)

    def _allows_as_comfyui(self, host: str | None, origin: str | None) -> bool:
        if host is None or origin is None or not _is_loopback(_split(host)[0]):
            return True
        return origin == "null" or _same_place(host, origin)

    def _is_ours(self, host: str, local_address: str) -> bool:
        name = _split(host)[0]
        return name in self.allowed_hosts or _is_loopback(name) or name == local_address

    def allows_fetch(self, headers: Headers) -> bool:
        """False for what a page of another site loads into itself (pictures, frames, scripts): it tells no Origin."""
        if self.policy == "comfyui" or self.cors_origin or headers.get("sec-fetch-site") != "cross-site":
            return True
        return headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"

    def cors_headers(self) -> dict[str, str]:
        """Headers of every answer; none without a CORS origin."""
        if not self.cors_origin:
            return {}
        return {
            "access-control-allow-origin": self.cors_origin,
            "access-control-allow-methods": "POST, GET, DELETE, PUT, OPTIONS",
            "access-control-allow-headers": "Content-Type, Authorization",
            "access-control-allow-credentials": "true",
        }


class Guard:
    """ASGI middleware around all endpoints, sockets included."""

    def __init__(self, app: ASGIApp, rules: OriginRules, max_body_bytes: int, body_stall_s: float) -> None:
        self._app = app
        self._body_stall_s = body_stall_s
        self._rules = rules
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the call on, or answers it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        address = (scope.get("server") or ("",))[0]
        if not self._rules.allows(headers.get("host"), headers.get("origin"), address) or not self._rules.allows_fetch(
            headers
        ):
            await _refuse(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._http(headers, scope, receive, self._with_headers(scope["path"], send))

    async def _http(self, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        length = headers.get("content-length", "0")
        if scope["method"] == "OPTIONS":
            await Response(b"")(scope, receive, send)
        elif length.isdigit() and int(length) > self._max_body_bytes:
            await Response(self._too_large(int(length)), 413, {"content-type": "text/plain; charset=utf-8"})(
                scope, receive, send
            )
        else:
            await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        """Counts what arrives: a chunked body tells no length in advance, and a client may stop in the middle of it."""
        received, whole = 0, False

        async def counted() -> Message:
            nonlocal received, whole
            try:
                async with asyncio.timeout(None if whole else self._body_stall_s):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, self._too_large(received))
            return message

        return counted

    def _too_large(self, size: int) -> str:
        return f"Maximum request body size {self._max_body_bytes} exceeded, actual body size {size}"

    def _with_headers(self, path: str, send: Send) -> Send:
        """Adds what belongs to every answer: CORS, and how long it may be kept, and that its type is what it says."""
        extra = self._rules.cors_headers()

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(extra)
                headers.setdefault("x-content-type-options", "nosniff")  # names that clients made up travel in answers
                keep = cache_control(path, message["status"])
                if keep is not None:
                    headers.setdefault("cache-control", keep)
            await send(message)

        return with_headers


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before accept: the server answers 403
    else:
        await Response(b"", 403)(scope, receive, send)


def _same_place(host: str, origin: str) -> bool:
    """Host names equal, and ports where the origin names one."""
    name, port = _split(host)
    try:
        parts = urlsplit(origin)
        origin_name, origin_port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        return False
    return bool(origin_name) and origin_name == name and (origin_port is None or origin_port == port)


def _split(host: str) -> tuple[str, int | None]:
    """Lower-case name without brackets, and port; an unreadable header is a name nobody has."""
    found = _HOST.fullmatch(host)
    if found is None or (found["port"] and int(found["port"]) > _LAST_PORT):
        return "", None
    return (found["address"] or found["name"]).lower(), int(found["port"]) if found["port"] else None


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
