"""Both server kinds: health, reflection, typed errors, hidden bugs, taken ports, drain."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc as rpc

from kit import serve
from kit.errors import Busy, HeliographError, Internal, NotFound, Unready
from kit.status import from_rpc_error

NAME = "heliograph.graph.v1.RunService"


class AioRuns(rpc.RunServiceServicer):
    """Fails in every way."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def GetRun(self, request: Any, context: Any) -> Any:
        raise NotFound("no such run", reason="PROMPT_NOT_FOUND", run_id=request.run_id)

    async def ListQueue(self, request: Any, context: Any) -> Any:
        raise ValueError("/secret/path")

    async def WatchRun(self, request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.WatchRunResponse()
        raise Busy("too slow")

    async def GetSystem(self, request: Any, context: Any) -> Any:
        self.entered.set()
        await self.go_on.wait()
        return pb.GetSystemResponse(workers=3)


class SyncRuns(rpc.RunServiceServicer):
    """The same, synchronous."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()

    def GetRun(self, request: Any, context: Any) -> Any:
        raise NotFound("no such run", reason="PROMPT_NOT_FOUND", run_id=request.run_id)

    def ListQueue(self, request: Any, context: Any) -> Any:
        raise ValueError("/secret/path")

    def WatchRun(self, request: Any, context: Any) -> Iterator[Any]:
        yield pb.WatchRunResponse()
        raise Busy("too slow")

    def GetSystem(self, request: Any, context: Any) -> Any:
        self.entered.set()
        assert self.go_on.wait(10)
        return pb.GetSystemResponse(workers=3)


@pytest.fixture(params=["aio", "sync"])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    if request.param == "aio":
        runs: Any = AioRuns()
        server: Any = serve.aio_server(
            "127.0.0.1:0", {NAME: lambda s: rpc.add_RunServiceServicer_to_server(runs, s)}, service="t"
        )
        await server.start()
        await server.ready()
    else:
        runs = SyncRuns()
        server = serve.sync_server(
            "127.0.0.1:0", {NAME: lambda s: rpc.add_RunServiceServicer_to_server(runs, s)}, service="t", threads=4
        )
        server.start()
        server.ready()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=serve.channel_options()) as channel:
        yield channel
    stopped = server.stop(1)
    if asyncio.iscoroutine(stopped):
        await stopped


async def failure(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_typed_error_reaches_the_client_typed(target: grpc.aio.Channel) -> None:
    error = await failure(rpc.RunServiceStub(target).GetRun(pb.GetRunRequest(run_id="7")))
    assert isinstance(error, NotFound)
    assert (error.reason, error.facts) == ("PROMPT_NOT_FOUND", {"run_id": "7"})


async def test_bug_is_hidden_behind_a_trace_id_that_is_logged(
    target: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    error = await failure(rpc.RunServiceStub(target).ListQueue(pb.ListQueueRequest()))
    assert isinstance(error, Internal)
    assert "secret" not in str(error)
    assert error.facts["trace_id"] in caplog.text and "secret" in caplog.text


async def test_error_in_the_middle_of_a_stream(target: grpc.aio.Channel) -> None:
    seen = []

    async def read() -> None:
        async for response in rpc.RunServiceStub(target).WatchRun(pb.WatchRunRequest()):
            seen.append(response)

    assert isinstance(await failure(read()), Busy)
    assert len(seen) == 1


async def test_unimplemented_method(target: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await rpc.RunServiceStub(target).ListHistory(pb.ListHistoryRequest())
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_health_check_and_watch(target: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(target)
    serving = health_pb2.HealthCheckResponse.SERVING
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == serving
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == serving
    watch.cancel()


async def test_reflection_lists_the_service(target: grpc.aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(target)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    answer = await call.read()
    assert NAME in [service.name for service in answer.list_services_response.service]
    call.cancel()


async def test_a_taken_port_is_an_error() -> None:
    first = serve.aio_server("127.0.0.1:0", {}, service="t")
    with pytest.raises(Unready) as caught:
        serve.sync_server(f"127.0.0.1:{first.port}", {}, service="t", threads=1)
    assert caught.value.reason == "ADDRESS_IN_USE"
    await first.stop(0)


async def test_drain_lets_a_running_call_end() -> None:
    runs = AioRuns()
    server = serve.aio_server(
        "127.0.0.1:0", {NAME: lambda s: rpc.add_RunServiceServicer_to_server(runs, s)}, service="t"
    )
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = asyncio.ensure_future(rpc.RunServiceStub(channel).GetSystem(pb.GetSystemRequest()))
        await runs.entered.wait()
        stopping = asyncio.ensure_future(server.stop(10))
        runs.go_on.set()
        assert (await call).workers == 3
        await stopping
