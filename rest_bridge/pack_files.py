"""Files for browsers that providers of nodes have (ComfyUI's WEB_DIRECTORY), fetched when they are asked for."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_provider_pb2_grpc as rpc

from kit import telemetry
from kit.errors import Unready
from kit.status import from_rpc_error

_LOG = logging.getLogger("heliograph.rest_bridge")
_LIST_S = 3.0  # a web UI that starts must not wait for a provider that is away
_READ_S = 20.0
_MAX_FILE_BYTES = 32 << 20
_AT_ONCE = 8


class PackFiles:
    """Asks providers in the order of the settings."""

    def __init__(self, channels: Iterable[grpc.aio.Channel] = ()) -> None:
        self._stubs: Sequence[Any] = [rpc.NodeProviderStub(channel) for channel in channels]
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def scripts(self) -> list[str]:
        """URLs of the scripts that a web UI loads as extensions; of providers that are there."""
        found = await asyncio.gather(*map(self._list, self._stubs))
        names = dict.fromkeys(path for paths in found for path in paths if path.endswith(".js"))
        return [f"/extensions/{name}" for name in names]

    async def read(self, path: str) -> bytes | None:
        """The first provider's file of that name; None: nobody has it. Raises Unready if somebody failed."""
        async with self._slots:
            for stub in self._stubs:
                content = await self._read(stub, path)
                if content is not None:
                    return content
        return None

    async def _list(self, stub: Any) -> list[str]:
        try:
            answer = await stub.ListWebFiles(pb.ListWebFilesRequest(), timeout=_LIST_S, metadata=telemetry.outgoing())
        except grpc.RpcError as error:  # most have none and do not know the call
            _LOG.debug("a provider lists no files for browsers: %s", from_rpc_error(error))
            return []
        return [file.path for file in answer.files]

    async def _read(self, stub: Any, path: str) -> bytes | None:
        call = stub.ReadWebFile(pb.ReadWebFileRequest(path=path), timeout=_READ_S, metadata=telemetry.outgoing())
        content = bytearray()
        try:
            async for part in call:
                content += part.contents
                if len(content) > _MAX_FILE_BYTES:
                    raise Unready("a provider's file for browsers is too large", reason="WEB_FILE")
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE):
                return None
            raise Unready("a provider's file for browsers cannot be read", reason="WEB_FILE") from error
        finally:
            call.cancel()
        return bytes(content)
