"""HTTP connections whose request heads are bounded in size and time; the parser beneath would keep what never ends."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    """431 for a head (request line, headers) of more than MAX_HEAD_BYTES, 408 for one that takes `head_s` seconds."""

    head_s: float = 30.0

    _waiting = False  # for the rest of a head
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """The first head is due from now on."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what belongs to a head that is not over; one that ends within this piece is bounded by its size."""
        super().data_received(data)
        if not self._waiting or self.transport.is_closing():
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        if not self._waiting:
            self._expect()

    def on_headers_complete(self) -> None:
        """A head is over."""
        self._stop_waiting()
        super().on_headers_complete()

    def _expect(self) -> None:
        self._waiting, self._head_bytes = True, 0
        self._deadline = self.loop.call_later(self.head_s, self._refuse, _TOO_SLOW)

    def _stop_waiting(self) -> None:
        self._waiting = False
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


def bounded_heads(head_s: float) -> type[asyncio.Protocol]:
    """The class for uvicorn, which makes the connections itself."""
    made: dict[str, Any] = {"head_s": head_s, "__doc__": BoundedHeads.__doc__}
    return type("BoundedHeads", (BoundedHeads,), made)
