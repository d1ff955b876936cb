"""The connection to one provider of nodes: its list as last known, whether it is there, handles to let go of."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType

import grpc
from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_provider_pb2_grpc as rpc

from kit import shared_files
from kit.errors import HeliographError, Unready
from kit.serve import channel_options
from kit.status import from_rpc_error
from orchestrator.clients.provider_lists import ForeignNode, read_list

_LOG = logging.getLogger("heliograph.providers")
_FIRST_S = 10.0
_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_SHOWN = 20
_RELEASED_AT_ONCE = 1000


class ProviderLink:
    """`executes`: handles may come over this link. Make it inside the event loop; `close` ends it."""

    def __init__(
        self, address: str, on_change: Callable[[], None], *, executes: bool = False, shared_memory: bool = True
    ) -> None:
        self.address = address
        self.nodes: Mapping[str, ForeignNode] = MappingProxyType({})
        self.shared = False
        self.known = asyncio.Event()  # a list came
        self._holder = ""
        self._here = self._closed = False
        self._on_change = on_change
        self._executes = executes
        self._wants_shared = shared_memory
        self._channel = grpc.aio.insecure_channel(address, options=channel_options())
        self.stub = rpc.NodeProviderStub(self._channel)
        self._loop = asyncio.get_running_loop()
        self._dropped: deque[tuple[str, str]] = deque()
        self._wake = asyncio.Event()
        self._tasks = [self._loop.create_task(self._watch()), self._loop.create_task(self._releasing())]

    @property
    def holder(self) -> str:
        """Who we are in this connection; another one after each loss. Empty: the provider is away."""
        return self._holder if self._here else ""

    @property
    def here(self) -> bool:
        """Whether the provider answers."""
        return self._here

    def require(self, node_type: str) -> str:
        """The holder. Raises Unready (PROVIDER_AWAY)."""
        if not self._here:
            raise Unready(
                "the service that provides this node is away: start it, then submit again",
                reason="PROVIDER_AWAY", provider=self.address, node_type=node_type,
            )  # fmt: skip
        return self._holder

    def release(self, holder: str, handle_id: str) -> None:
        """Nobody needs the handle; from any thread."""
        self._dropped.append((holder, handle_id))
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake.set)

    async def close(self) -> None:
        """Ends the watch; the provider drops what it kept for us."""
        self._here, self._closed = False, True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._channel.close(None)

    async def _watch(self) -> None:
        pause = _PAUSE_S
        while not self._closed:
            holder = uuid.uuid4().hex
            call = self.stub.WatchNodeTypes(pb.WatchNodeTypesRequest(holder=holder if self._executes else ""))
            try:
                async with asyncio.timeout(_FIRST_S):
                    answer = await call.read()
                while isinstance(answer, pb.WatchNodeTypesResponse):  # else the stream has ended
                    await self._learn(answer, holder)
                    pause = _PAUSE_S
                    await asyncio.sleep(_PAUSE_S)  # not too often
                    answer = await call.read()
            except (grpc.RpcError, HeliographError, TimeoutError) as problem:
                told = from_rpc_error(problem) if isinstance(problem, grpc.RpcError) else problem
                (_LOG.warning if self._here else _LOG.debug)("provider %s is away: %s", self.address, told)
                if isinstance(problem, HeliographError):
                    _LOG.warning("the list of provider %s is refused: %s", self.address, problem)
            finally:
                call.cancel()
                self._here = False
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _learn(self, answer: pb.WatchNodeTypesResponse, holder: str) -> None:
        found = await asyncio.to_thread(read_list, self.address, answer)
        for why in found.refused[:_SHOWN]:
            _LOG.warning("provider %s: %s", self.address, why)
        if len(found.refused) > _SHOWN:
            _LOG.warning("provider %s: %d more are refused", self.address, len(found.refused) - _SHOWN)
        self.shared = self._wants_shared and shared_files.probe(found.probe)
        self.nodes = MappingProxyType(dict(found.nodes))
        self._holder, self._here = holder, True
        _LOG.info("provider %s has %d nodes", self.address, len(self.nodes))
        self._on_change()
        self.known.set()

    async def _releasing(self) -> None:
        """What cannot be told now is told later; what another holder had is gone already."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dropped:
                batch = [self._dropped.popleft() for _ in range(min(len(self._dropped), _RELEASED_AT_ONCE))]
                ids = [handle_id for holder, handle_id in batch if self._here and holder == self._holder]
                if not ids:
                    continue
                request = pb.ReleaseRequest(holder=self._holder, handle_ids=ids)
                try:
                    await self.stub.Release(request, timeout=_FIRST_S)
                except grpc.RpcError as problem:
                    _LOG.debug("provider %s: handles are released later: %s", self.address, from_rpc_error(problem))
                    self._dropped.extend(batch)
                    await asyncio.sleep(_LONGEST_PAUSE_S)
