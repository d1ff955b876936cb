"""A provider that says whatever it is told to, in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_provider_pb2_grpc as rpc

from kit.serve import aio_server
from node_host.nodes import describe

INFO = describe({"required": {}}, (("INT", "INT"),), category="fake")


def node_type(class_type: str, info: Any = INFO, **fields: Any) -> pb.NodeType:
    text = info if isinstance(info, bytes) else json.dumps(info).encode()
    return pb.NodeType(class_type=class_type, object_info_json=text, **fields)


@dataclass
class FakeProvider(rpc.NodeProviderServicer):
    """`types` as they are now; `answers` to Execute by class."""

    types: Sequence[pb.NodeType] = ()
    answers: dict[str, Sequence[pb.ExecuteResponse]] = field(default_factory=dict)
    calls: list[pb.NodeCall] = field(default_factory=list)
    address: str = ""
    probe: str = ""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def WatchNodeTypes(self, request: Any, context: Any) -> AsyncIterator[pb.WatchNodeTypesResponse]:
        while True:
            changed = self.changed
            yield pb.WatchNodeTypesResponse(node_types=self.types, shared_memory_probe=self.probe)
            await changed.wait()

    async def Execute(self, requests: Any, context: Any) -> AsyncIterator[pb.ExecuteResponse]:
        async for request in requests:
            if request.HasField("call"):
                self.calls.append(request.call)
                for answer in self.answers[request.call.class_type]:
                    yield answer

    def say(self, *types: pb.NodeType) -> None:
        """From now on these are its nodes."""
        self.types = types
        self.changed.set()
        self.changed = asyncio.Event()


@asynccontextmanager
async def fake_provider(
    *types: pb.NodeType, answers: Mapping[str, Sequence[pb.ExecuteResponse]] | None = None, address: str = "127.0.0.1:0"
) -> AsyncIterator[FakeProvider]:
    """It answers with these."""
    fake = FakeProvider(types, dict(answers or {}))
    services = {"heliograph.graph.v1.NodeProvider": lambda s: rpc.add_NodeProviderServicer_to_server(fake, s)}
    server = aio_server(address, services, service="fake")
    await server.start()
    fake.address = f"127.0.0.1:{server.port}"
    try:
        yield fake
    finally:
        await server.stop(0)
