"""The bridge over HTTP with fakes behind it, on one event loop in a thread; tests talk to it as clients do."""

from __future__ import annotations

import asyncio
import http.client
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from websockets.sync.client import ClientConnection, connect

from kit.serve import AioServer
from rest_bridge.app.main import listen, serve
from rest_bridge.app.settings import Settings
from rest_bridge.feed import Pace
from tests.support.fake_front import Backend, fake_server
from tests.support.stack import free_ports

T = TypeVar("T")
WAIT_S = 20.0
FAST = Pace(first_retry_s=0.01, longest_retry_s=0.05, settle_s=0.05)


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        """Empty if there is none."""
        return self.headers.get("content-type", "")


class Served:
    """A running bridge and its fakes."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        backend: Backend,
        port: int,
        fakes_address: str,
        front: AioServer | None,
        chosen: Settings,
    ) -> None:
        self._loop = loop
        self.backend = backend
        self.port = port
        self.fakes_address = fakes_address
        self.front = front
        self.settings = chosen

    def on_loop(self, work: Callable[[], T]) -> T:
        """Runs a function on the servers' event loop."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(WAIT_S)

    def wait_on_loop(self, coroutine: Any) -> Any:
        """Runs a coroutine on the servers' event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(WAIT_S)

    def until(self, met: Callable[[], bool]) -> None:
        """Waits for a condition that the loop brings about."""

        async def wait() -> None:
            async with asyncio.timeout(WAIT_S):
                while not met():
                    await asyncio.sleep(0.002)

        self.wait_on_loop(wait())

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return Answer(response.status, found, response.read())
        finally:
            connection.close()

    def post_json(self, path: str, value: object) -> Answer:
        """As urllib clients do: JSON under a form's content type."""
        return self.request(
            "POST", path, json.dumps(value).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        )

    def post_form(self, path: str, fields: list[tuple[str, str | None, bytes]]) -> Answer:
        """A multipart form of (name, file name, data)."""
        body, content_type = multipart(fields)
        return self.request("POST", path, body, {"Content-Type": content_type})

    @contextmanager
    def socket(self, client_id: str | None = None, path: str = "/ws", **options: Any) -> Iterator[ClientConnection]:
        """A connected WebSocket client."""
        query = "" if client_id is None else f"?clientId={client_id}"
        with connect(f"ws://127.0.0.1:{self.port}{path}{query}", open_timeout=WAIT_S, **options) as client:
            yield client

    def watched(self) -> None:
        """Waits until the bridge follows the events."""
        self.until(lambda: bool(self.backend.watchers))


def multipart(fields: list[tuple[str, str | None, bytes]]) -> tuple[bytes, str]:
    """Body and content type of a form."""
    boundary = "----contract"
    parts = []
    for name, filename, data in fields:
        about = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        kind = "" if filename is None else "Content-Type: application/octet-stream\r\n"
        parts.append(f"--{boundary}\r\nContent-Disposition: {about}\r\n{kind}\r\n".encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


@dataclass
class _Running:
    ready: threading.Event = field(default_factory=threading.Event)
    stop: asyncio.Event | None = None
    loop: asyncio.AbstractEventLoop | None = None
    served: Served | None = None
    error: BaseException | None = None


@contextmanager
def running_bridge(backend: Backend | None = None, with_front: bool = True, **settings: object) -> Iterator[Served]:
    """Starts fakes and bridge on free ports, stops both; `settings` are fields of Settings."""
    with tempfile.TemporaryDirectory() as data_dir:
        yield from _running(backend or Backend(), with_front, {"data_dir": Path(data_dir), **settings})


def _running(backend: Backend, with_front: bool, settings: Mapping[str, object]) -> Iterator[Served]:
    state = _Running()

    async def everything() -> None:
        state.loop, state.stop = asyncio.get_running_loop(), asyncio.Event()
        address = f"127.0.0.1:{free_ports(1)[0]}"
        front = fake_server(backend, address) if with_front else None
        if front is not None:
            await front.start()
        chosen = Settings.load(
            **{
                "rest_port": 0,
                "front_address": address,
                "model_address": address,
                "rest_drain_s": 1.0,
                "rest_web_ui": "off",
                "rest_legacy_previews": True,  # as ComfyUI was started for the recordings
                **settings,
            }
        )
        sock = listen(chosen)
        state.served = Served(state.loop, backend, sock.getsockname()[1], address, front, chosen)
        state.ready.set()
        try:
            await serve(chosen, sock, state.stop, FAST)
        finally:
            if state.served.front is not None:
                await state.served.front.stop(0)

    def run() -> None:
        try:
            asyncio.run(everything())
        except BaseException as error:
            state.error = error
            state.ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert state.ready.wait(WAIT_S)
        if state.error is not None or state.served is None:
            raise AssertionError("the bridge did not start") from state.error
        yield state.served
    finally:
        if state.loop is not None and state.stop is not None and not state.loop.is_closed():
            state.loop.call_soon_threadsafe(state.stop.set)
        thread.join(WAIT_S)
    assert state.error is None, state.error
