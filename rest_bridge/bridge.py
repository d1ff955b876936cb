"""What the endpoints work with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.catalogue import NodeCatalogue
from rest_bridge.clients import Artifacts, Models, Runs
from rest_bridge.delivery import Delivery
from rest_bridge.logbook import Logbook
from rest_bridge.pack_files import PackFiles
from rest_bridge.pictures import Darkroom
from rest_bridge.queue_view import QueueView
from rest_bridge.sockets import Sockets
from rest_bridge.templates import Templates
from rest_bridge.users.files import UserFiles
from rest_bridge.users.preferences import Preferences
from rest_bridge.web_ui import WebUi


@dataclass(frozen=True)
class Bridge:
    """The services behind us and the clients before us."""

    runs: Runs
    artifacts: Artifacts
    models: Models
    queue: QueueView
    catalogue: NodeCatalogue
    sockets: Sockets
    delivery: Delivery
    darkroom: Darkroom
    users: UserFiles
    preferences: Preferences
    templates: Templates
    logbook: Logbook
    pack_files: PackFiles
    max_upload_bytes: int
    body_stall_s: float
    ui: WebUi | None = None


Handler = Callable[[Bridge, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """A path, what answers each method (GET answers HEAD too), and whether it is also served below `/api`."""

    path: str
    handlers: Mapping[str, Handler]
    aliased: bool = True
