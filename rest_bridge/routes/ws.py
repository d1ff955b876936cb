"""WebSocket /ws?clientId=: status, the messages of the client's runs, previews."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from kit.errors import HeliographError
from rest_bridge import messages
from rest_bridge.answers import text
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.frames import Frame
from rest_bridge.sockets import Outbox

_TRY_LATER = 1013
# The first message should not wait for a front that does not answer.
_COUNT_TIMEOUT_S = 1.0
_CLOSE_TIMEOUT_S = 1.0


async def serve(bridge: Bridge, websocket: WebSocket) -> None:
    """One client from its first `status` to its end."""
    await websocket.accept()
    if bridge.sockets.full():
        await websocket.close(_TRY_LATER, "too many clients")
        return
    client_id = websocket.query_params.get("clientId") or uuid.uuid4().hex
    remaining = await _remaining(bridge)
    outbox = bridge.sockets.open(client_id)  # from here on no await until the first message is queued
    try:
        outbox.put(Frame(messages.status(remaining, client_id), passing=True))
        node_id = bridge.delivery.node_of_client(client_id)
        if node_id:
            outbox.put(Frame(messages.executing_on_reconnect(node_id), passing=True))
        for missed in outbox.missed:
            outbox.put(missed)
        outbox.missed = []
        await _until_closed(bridge, websocket, outbox)
    finally:
        bridge.sockets.close(outbox)


async def _remaining(bridge: Bridge) -> int:
    """Unfinished runs: asked for, unless a newer figure came meanwhile or the front does not answer."""
    changes = bridge.delivery.changes
    try:
        remaining = await bridge.runs.unfinished(_COUNT_TIMEOUT_S)
    except HeliographError:
        return bridge.delivery.remaining
    return remaining if bridge.delivery.changes == changes else bridge.delivery.remaining


async def _until_closed(bridge: Bridge, websocket: WebSocket, outbox: Outbox) -> None:
    """Sends and receives until the client leaves or proves too slow."""
    tasks = [
        asyncio.create_task(_send(websocket, outbox)),
        asyncio.create_task(_receive(bridge, websocket, outbox)),
        asyncio.create_task(outbox.overflowed.wait()),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if outbox.overflowed.is_set():
        # Its buffer may be so full that not even this gets through; leaving closes the connection then.
        with suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await websocket.close(_TRY_LATER, "too slow")


async def _send(websocket: WebSocket, outbox: Outbox) -> None:
    while True:
        frame = await outbox.next()
        sent = False
        try:
            if isinstance(frame.payload, str):
                await websocket.send_text(frame.payload)
            else:
                await websocket.send_bytes(frame.payload)
            sent = True
        finally:
            if not sent:  # the client may come back for it
                outbox.put_back(frame)


async def _receive(bridge: Bridge, websocket: WebSocket, outbox: Outbox) -> None:
    first = True
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        said = message.get("text")
        if said is None:
            continue
        if first:
            _negotiate(bridge, outbox, said)
        first = False


def _negotiate(bridge: Bridge, outbox: Outbox, said: str) -> None:
    """Only the first text may tell feature flags; everything else a client says is ignored."""
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict) or value.get("type") != "feature_flags":
        return
    flags = value.get("data")
    outbox.preview_metadata = isinstance(flags, dict) and bool(flags.get("supports_preview_metadata"))
    outbox.put(Frame(messages.feature_flags(bridge.max_upload_bytes), passing=True))


async def no_upgrade(_bridge: Bridge, _request: Request) -> Response:
    """A plain GET of a socket's address."""
    return text("this address speaks WebSocket only", 400)


ENDPOINT = Endpoint("/ws", {"GET": no_upgrade})
