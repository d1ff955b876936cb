"""Starts the REST bridge: `python -m rest_bridge.app.main`."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import grpc
import uvicorn

from kit import telemetry
from kit.serve import channel_options, run_service, stop_event_on_signals
from rest_bridge.app.application import application
from rest_bridge.app.heads import bounded_heads
from rest_bridge.app.settings import MIB, Settings
from rest_bridge.bridge import Bridge
from rest_bridge.catalogue import NodeCatalogue
from rest_bridge.clients import Artifacts, Models, Runs
from rest_bridge.delivery import Delivery
from rest_bridge.feed import Feed, Pace
from rest_bridge.guard import OriginRules
from rest_bridge.logbook import Logbook
from rest_bridge.pack_files import PackFiles
from rest_bridge.pictures import Darkroom
from rest_bridge.queue_view import QueueView
from rest_bridge.sockets import OutboxLimits, Sockets
from rest_bridge.templates import Templates
from rest_bridge.users.files import Limits, UserFiles
from rest_bridge.users.preferences import Preferences
from rest_bridge.web_ui import web_ui

_BACKLOG = 1024
# Clients of the first protocol say nothing of interest; feature flags are short.
_MAX_CLIENT_MESSAGE = MIB


class Server(uvicorn.Server):
    """uvicorn without its own signal handling; `stop` begins the drain."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to `main`."""
        yield

    def stop(self) -> None:
        """No new connections; open requests end, sockets are closed with 1012."""
        self.should_exit = True


def listen(settings: Settings) -> socket.socket:
    """A bound socket with keepalive, so that vanished clients are noticed without pings. Raises OSError."""
    family = socket.AF_INET6 if ":" in settings.rest_host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # accepted sockets inherit these
    # Head and body of an answer are two writes: with Nagle's algorithm the second waits 40 ms for the client.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        sock.bind((settings.rest_host, settings.rest_port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


async def serve(settings: Settings, sock: socket.socket, stop: asyncio.Event, pace: Pace | None = None) -> None:
    """Answers until `stop` is set, then drains. Does not wait for the front or the model service to be there."""
    async with AsyncExitStack() as channels:
        front = await channels.enter_async_context(_channel(settings.front_address))
        models = await channels.enter_async_context(_channel(settings.model_address))
        limits = OutboxLimits(settings.rest_socket_buffer_messages, settings.rest_socket_buffer_mib * MIB)
        sockets = Sockets(settings.rest_socket_limit, limits, settings.rest_reconnect_s)
        users = UserFiles(
            settings.data_dir / "user" / "default", Limits(settings.rest_user_files, settings.rest_user_mib * MIB)
        )
        await asyncio.to_thread(users.sweep)
        runs = Runs(front, settings.rest_call_timeout_s)
        bridge = Bridge(
            runs=runs,
            artifacts=Artifacts(front, settings.rest_call_timeout_s, settings.rest_transfer_timeout_s),
            models=Models(models, settings.rest_call_timeout_s),
            queue=QueueView(runs),
            catalogue=NodeCatalogue(runs),
            sockets=sockets,
            delivery=Delivery(sockets, legacy_previews=settings.rest_legacy_previews),
            darkroom=Darkroom(settings.rest_max_image_pixels),
            users=users,
            preferences=Preferences(users),
            templates=Templates(Path(settings.rest_templates_dir) if settings.rest_templates_dir else None),
            logbook=Logbook(sockets),
            pack_files=PackFiles(
                [await channels.enter_async_context(_channel(a)) for a in settings.provider_addresses]
            ),
            max_upload_bytes=settings.max_upload_bytes,
            ui=web_ui(settings.rest_web_ui),
            body_stall_s=settings.rest_body_stall_s,
        )
        rules = OriginRules(settings.rest_origin_policy, settings.allowed_hosts, settings.rest_cors_origin)
        app = application(bridge, Feed(runs, bridge.delivery, pace or Pace()), rules)
        with bridge.logbook.attached():
            await _serve_until(Server(_uvicorn(app, settings)), sock, stop)


async def _serve_until(server: Server, sock: socket.socket, stop: asyncio.Event) -> None:
    async def watch() -> None:
        await stop.wait()
        server.stop()

    watcher = asyncio.create_task(watch())
    try:
        await server.serve(sockets=[sock])
    finally:
        watcher.cancel()


def _channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=channel_options())


def _uvicorn(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application
        log_config=None,
        access_log=settings.rest_access_log,
        lifespan="on",
        server_header=False,
        headers=[("server", "heliograph")],
        timeout_graceful_shutdown=round(settings.rest_drain_s),
        timeout_keep_alive=75,
        http=bounded_heads(settings.rest_body_stall_s),
        ws="websockets-sansio",
        ws_max_size=_MAX_CLIENT_MESSAGE,
        # Some ComfyUI clients only read their socket now and then: a ping they cannot answer would end them.
        ws_ping_interval=None,
        ws_ping_timeout=None,
    )


async def _run(settings: Settings) -> None:
    await serve(settings, listen(settings), stop_event_on_signals())


def main() -> None:
    """Reads the settings and serves until SIGTERM or SIGINT."""
    settings = Settings.load()
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if not settings.rest_access_log:
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # it tells of every socket
    telemetry.start("rest-bridge", settings.telemetry, settings.telemetry_endpoint)
    logging.getLogger("heliograph.rest_bridge").info(
        "listening on http://%s:%s, front at %s", settings.rest_host, settings.rest_port, settings.front_address
    )
    run_service(_run(settings))
    telemetry.stop()


if __name__ == "__main__":
    main()
