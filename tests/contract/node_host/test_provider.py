"""The Python provider over gRPC, called as an orchestrator would and as it should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_provider_pb2_grpc as rpc
from heliograph.graph.v1 import node_value_pb2 as values

from kit.errors import HeliographError, InvalidRequest, NotFound
from kit.serve import channel_options
from kit.status import from_rpc_error
from node_host.nodes import Call, ProvidedNode, describe
from node_host.provider import Provider, provider_server


class Thing:
    """Stays."""


def make(call: Call) -> tuple[Thing]:
    return (Thing(),)


def use(call: Call, thing: Any) -> tuple[bool]:
    return (isinstance(thing, Thing),)


def wrong(call: Call) -> Any:
    return 5


NODES = [ProvidedNode(f.__name__, f, describe({}, (("THING", "THING"),), category="t")) for f in (make, use, wrong)]


class Served:
    def __init__(self, provider: Provider, stub: Any) -> None:
        self.provider = provider
        self.stub = stub

    def watch(self, holder: str) -> Any:
        return self.stub.WatchNodeTypes(pb.WatchNodeTypesRequest(holder=holder))

    async def execute(self, class_type: str, holder: str = "me", **inputs: values.Value) -> Any:
        call = pb.NodeCall(class_type=class_type, holder=holder, inputs=inputs)
        answers = [answer async for answer in self.stub.Execute(iter([pb.ExecuteRequest(call=call)]))]
        (outcome,) = answers
        return outcome


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    provider = Provider(NODES)
    server = provider_server(provider, "127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=channel_options()) as channel:
        yield Served(provider, rpc.NodeProviderStub(channel))
    provider.end_watches()
    await server.stop(1)
    provider.close()


async def refusal(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_objects_live_as_long_as_their_holder_watches(served: Served) -> None:
    watch = served.watch("me")
    await watch.read()
    made = (await served.execute("make")).result.outputs[0]
    assert made.handle.id and len(served.provider.handles) == 1
    assert (await served.execute("use", thing=made)).result.outputs[0].bool_value
    assert (await served.execute("use", holder="else", thing=made)).error.handle_lost
    await served.stub.Release(pb.ReleaseRequest(holder="me", handle_ids=["unknown"]))
    assert len(served.provider.handles) == 1
    again = (await served.execute("make")).result.outputs[0]
    await served.stub.Release(pb.ReleaseRequest(holder="me", handle_ids=[again.handle.id]))
    assert len(served.provider.handles) == 1
    watch.cancel()
    await until(lambda: not len(served.provider.handles))
    assert (await served.execute("use", thing=made)).error.handle_lost
    assert (await served.execute("make")).error.handle_lost  # nobody would ever let go of it


async def test_a_changed_list_is_sent(served: Served) -> None:
    watch = served.watch("")
    assert [item.class_type for item in (await watch.read()).node_types] == ["make", "use", "wrong"]
    served.provider.replace(NODES[:1])
    assert [item.class_type for item in (await watch.read()).node_types] == ["make"]


async def test_wrong_calls_are_refused(served: Served) -> None:
    assert isinstance(await refusal(served.execute("nobody")), NotFound)
    assert isinstance(await refusal(served.stub.Validate(pb.ValidateRequest(class_type="nobody"))), NotFound)

    async def nothing() -> None:
        async for _ in served.stub.Execute(iter([])):
            pass

    async def chunk() -> None:
        async for _ in served.stub.Execute(iter([pb.ExecuteRequest(chunk=values.TensorChunk(number=3))])):
            pass

    assert (await refusal(nothing())).reason == "NO_CALL"
    assert isinstance(await refusal(chunk()), InvalidRequest)


async def test_a_wrong_result_is_the_nodes_error(served: Served) -> None:
    error = (await served.execute("wrong")).error
    assert error.type == "TypeError" and "returned int" in error.message and error.traceback
    cut = values.Value(tensor=values.Tensor(datatype="FP32", shape=[9], raw=b"1"))
    assert (await served.execute("use", thing=cut)).error.type == "InvalidRequest"
