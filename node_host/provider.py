"""Serves nodes as `heliograph.graph.v1.NodeProvider`: the gRPC side, for providers written in Python."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from heliograph.graph.v1 import node_provider_pb2 as pb
from heliograph.graph.v1 import node_provider_pb2_grpc as rpc
from heliograph.graph.v1 import node_value_pb2

from kit.errors import Conflict, HeliographError, InvalidRequest, NotFound
from kit.node_values import Incoming, Outgoing, packed
from kit.serve import AioServer, aio_server, run_service, stop_event_on_signals
from kit.shared_files import Probe, SharedFile
from node_host.handles import HandleLost, Handles
from node_host.nodes import (
    Call,
    Cancelled,
    Expansion,
    Preview,
    ProvidedNode,
    Result,
    as_fingerprint,
    call_with,
    taken_by,
)
from node_host.values import CallValues
from node_host.web import WEB_CHUNK_BYTES, WebFolders

_LOG = logging.getLogger("heliograph.provider")
_UNREAD_S = 60.0  # a result in shared memory that nobody fetched
_WAITING_REPORTS = 64
_SCHEDULES = {"cpu": pb.SCHEDULE_CPU, "accelerator": pb.SCHEDULE_ACCELERATOR, "async": pb.SCHEDULE_ASYNC}


class Provider(rpc.NodeProviderServicer):
    """Nodes by class; they may be replaced while it serves. Make it inside the event loop."""

    def __init__(
        self,
        nodes: Iterable[ProvidedNode],
        *,
        threads: int = 4,
        shared_memory: bool = True,
        values: type[CallValues] = CallValues,
        web: Mapping[str, Path] | None = None,
    ) -> None:
        """`web`: folders of files for browsers, by the name that they have below /extensions."""
        self._values = values
        self._web = WebFolders(web or {})
        self._nodes: dict[str, ProvidedNode] = {}
        self._changed = asyncio.Event()
        self._ending = False
        self._threads = ThreadPoolExecutor(threads, "node")
        self._probe = Probe() if shared_memory else None
        self._unread: set[SharedFile] = set()
        self.handles = Handles()
        self.replace(nodes)

    def replace(self, nodes: Iterable[ProvidedNode]) -> None:
        """These are the nodes from now on. Raises Conflict (NODE_TYPE) for a class that occurs twice."""
        found: dict[str, ProvidedNode] = {}
        for node in nodes:
            if node.class_type in found:
                raise Conflict("a class occurs twice", reason="NODE_TYPE", node_type=node.class_type)
            found[node.class_type] = node
        self._nodes = found
        self._tell()

    def end_watches(self) -> None:
        """Lets go of everybody who watches: the process is about to end."""
        self._ending = True
        self._tell()

    def close(self) -> None:
        """Leaves nothing in shared memory; threads that still work are not waited for."""
        for file in list(self._unread):
            self._forget(file)
        if self._probe is not None:
            self._probe.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def WatchNodeTypes(
        self, request: pb.WatchNodeTypesRequest, context: Any
    ) -> AsyncIterator[pb.WatchNodeTypesResponse]:
        """See node_provider.proto."""
        if request.holder:
            self.handles.begin(request.holder)
        try:
            while not self._ending:
                changed = self._changed
                probe = self._probe.name if self._probe is not None else ""
                types = [_node_type(node) for node in self._nodes.values()]
                yield pb.WatchNodeTypesResponse(node_types=types, shared_memory_probe=probe)
                await changed.wait()
        finally:
            self.handles.end(request.holder)

    async def Execute(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[pb.ExecuteResponse]:
        """See node_provider.proto."""
        incoming, request = await _received(requests)
        node = self._node(request.class_type)
        values = self._values(self.handles, request.holder, lists=node.input_is_list)
        reports: asyncio.Queue[pb.ExecuteResponse] = asyncio.Queue(_WAITING_REPORTS)
        call = self._call(request, reports)
        work = asyncio.create_task(self._run(node, call, values, incoming, request))
        try:
            while not work.done():
                waiting = asyncio.create_task(reports.get())
                await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
                if waiting.done():
                    yield waiting.result()
                waiting.cancel()
            await asyncio.sleep(0)  # reports that threads have handed over
            while not reports.empty():
                yield reports.get_nowait()
            outcome, outgoing = work.result()
            for chunk in outgoing.chunks() if outgoing is not None else ():
                yield pb.ExecuteResponse(chunk=chunk)
            yield outcome
        finally:
            call.cancel()
            work.cancel()

    async def CheckLazy(self, requests: AsyncIterator[Any], context: Any) -> pb.CheckLazyResponse:
        """See node_provider.proto."""
        incoming, request = await _received(requests)
        node = self._node(request.class_type)
        if node.lazy is None:
            return pb.CheckLazyResponse()
        values = self._values(self.handles, request.holder, lists=node.input_is_list)
        try:
            inputs = await self._inputs(values, incoming, request)
            needed = await self._called(node.lazy, partial(node.lazy, self._call(request, None), **inputs))
        except HandleLost:
            return pb.CheckLazyResponse(error=pb.NodeError(type="HandleLost", handle_lost=True))
        except Exception as error:  # noqa: BLE001  # boundary: told to the engine, which tells the client
            return pb.CheckLazyResponse(error=_error(error))
        return pb.CheckLazyResponse(needed=list(needed or ()))

    async def Validate(self, request: pb.ValidateRequest, context: Any) -> pb.ValidateResponse:
        """See node_provider.proto."""
        node = self._node(request.class_type)
        if node.validate is None:
            return pb.ValidateResponse(valid=True)
        given: dict[str, Any] = _plain(request.inputs)
        named, _ = taken_by(node.validate)
        if "input_types" in named:
            given["input_types"] = dict(request.input_types)
        try:
            answer = await self._called(node.validate, partial(call_with, node.validate, given))
        except Exception as error:  # noqa: BLE001  # boundary: what a validation raises is its refusal
            _LOG.info("validation of %s failed", node.class_type, exc_info=error)
            answer = str(error)
        return pb.ValidateResponse(valid=answer is True, message="" if isinstance(answer, bool) else str(answer))

    async def Fingerprint(self, request: pb.FingerprintRequest, context: Any) -> pb.FingerprintResponse:
        """See node_provider.proto."""
        node = self._node(request.class_type)
        if node.fingerprint is None:
            return pb.FingerprintResponse(fingerprint="")
        answer = await self._called(node.fingerprint, partial(call_with, node.fingerprint, _plain(request.inputs)))
        return pb.FingerprintResponse(fingerprint=as_fingerprint(answer))

    async def ListWebFiles(self, request: pb.ListWebFilesRequest, context: Any) -> pb.ListWebFilesResponse:
        """See node_provider.proto."""
        found = await asyncio.to_thread(self._web.files)
        return pb.ListWebFilesResponse(files=[pb.WebFile(path=path, size_bytes=size) for path, size in found])

    async def ReadWebFile(self, request: pb.ReadWebFileRequest, context: Any) -> AsyncIterator[pb.ReadWebFileResponse]:
        """See node_provider.proto."""
        content = await asyncio.to_thread(self._web.read, request.path)
        for at in range(0, max(1, len(content)), WEB_CHUNK_BYTES):
            yield pb.ReadWebFileResponse(contents=content[at : at + WEB_CHUNK_BYTES])

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        """See node_provider.proto."""
        self.handles.release(request.holder, request.handle_ids)
        return pb.ReleaseResponse()

    async def _run(
        self, node: ProvidedNode, call: Call, values: CallValues, incoming: Incoming, request: pb.NodeCall
    ) -> tuple[pb.ExecuteResponse, Outgoing | None]:
        try:
            inputs = await self._inputs(values, incoming, request)
            values.came(inputs, lambda name: incoming.unpack(request.inputs[name]))
            found = await self._called(node.function, partial(node.function, call, **inputs))
            outcome, outgoing = await asyncio.to_thread(
                packed, partial(_outcome, node, found), values.outward, self._probe is not None
            )
        except HandleLost:
            return pb.ExecuteResponse(error=pb.NodeError(type="HandleLost", handle_lost=True)), None
        except Cancelled:
            raise asyncio.CancelledError from None
        except Exception as error:  # noqa: BLE001  # boundary: told to the engine, which tells the client
            return pb.ExecuteResponse(error=_error(error)), None
        if outgoing.file is not None:
            self._unread.add(outgoing.file)
            asyncio.get_running_loop().call_later(_UNREAD_S, self._forget, outgoing.file)
        return outcome, outgoing

    async def _inputs(self, values: CallValues, incoming: Incoming, request: pb.NodeCall) -> dict[str, Any]:
        incoming.convert = values.inward
        return await asyncio.to_thread(lambda: {name: incoming.unpack(v) for name, v in request.inputs.items()})

    async def _called(self, function: Callable[..., Any], call: Callable[[], Any]) -> Any:
        """`call` calls `function`: here if it is a coroutine function, else in a thread."""
        if inspect.iscoroutinefunction(function):
            return await call()
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def _call(self, request: pb.NodeCall, reports: asyncio.Queue[pb.ExecuteResponse] | None) -> Call:
        loop = asyncio.get_running_loop()

        def put(message: pb.ExecuteResponse) -> None:
            assert reports is not None
            if reports.full():  # the newest matter
                reports.get_nowait()
            reports.put_nowait(message)

        def report(value: float, maximum: float, preview: Preview | None) -> None:
            picture = None if preview is None else pb.PreviewPicture(media_type=preview.media_type, image=preview.image)
            progress = pb.ExecutionProgress(value=value, max=maximum, preview=picture)
            if reports is not None:
                loop.call_soon_threadsafe(put, pb.ExecuteResponse(progress=progress))

        return Call(request.run_id, request.node_id, request.id_prefix, report)

    def _node(self, class_type: str) -> ProvidedNode:
        node = self._nodes.get(class_type)
        if node is None:
            raise NotFound("this provider has no such node", reason="NODE_UNKNOWN", node_type=class_type[:200])
        return node

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _forget(self, file: SharedFile) -> None:
        self._unread.discard(file)
        file.close()


async def _received(requests: AsyncIterator[Any]) -> tuple[Incoming, pb.NodeCall]:
    incoming = Incoming()
    async for request in requests:
        if request.WhichOneof("part") == "call":
            return incoming, request.call
        incoming.take(request.chunk)
    raise InvalidRequest("the stream ended without a call", reason="NO_CALL")


def _plain(values: Mapping[str, node_value_pb2.Value]) -> dict[str, Any]:
    incoming = Incoming()
    return {name: incoming.unpack(value) for name, value in values.items()}


def _outcome(node: ProvidedNode, found: Any, outgoing: Outgoing) -> pb.ExecuteResponse:
    if isinstance(found, Expansion):
        nodes = [
            pb.ExpandedNode(
                id=child.id, class_type=child.class_type, display_id=child.display_id,
                inputs={name: outgoing.pack(value) for name, value in child.inputs.items()},
            )
            for child in found.graph.nodes
        ]  # fmt: skip
        outputs = [outgoing.pack(value) for value in found.outputs]
        return pb.ExecuteResponse(expansion=pb.Expansion(nodes=nodes, outputs=outputs, ui_json=_ui(found.ui)))
    if found is None:
        found = ()
    if isinstance(found, tuple):
        found = Result(found)
    if not isinstance(found, Result):
        raise TypeError(f"{node.class_type} returned {type(found).__name__} and no tuple, Result or Expansion")
    outputs = [outgoing.pack(value) for value in found.outputs]
    return pb.ExecuteResponse(result=pb.NodeResult(outputs=outputs, ui_json=_ui(found.ui)))


def _ui(ui: Mapping[str, list[Any]] | None) -> bytes:
    return b"" if ui is None else json.dumps(ui).encode()


def _error(error: Exception) -> pb.NodeError:
    kind = type(error)
    plain = kind.__module__ == "builtins" or isinstance(error, HeliographError)
    name = kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"
    return pb.NodeError(type=name, message=str(error), traceback=traceback.format_tb(error.__traceback__))


def _node_type(node: ProvidedNode) -> pb.NodeType:
    validation = None
    if node.validate is not None:
        named, anything = taken_by(node.validate)
        inputs = [name for name in named if name != "input_types"]
        validation = pb.CustomValidation(inputs=inputs, all_inputs=anything, input_types="input_types" in named)
    return pb.NodeType(
        class_type=node.class_type,
        object_info_json=json.dumps(dict(node.info)).encode(),
        version=node.version,
        schedule=_SCHEDULES[node.schedule],
        input_is_list=node.input_is_list,
        extra_inputs=node.extra_inputs,
        lazy=node.lazy is not None,
        expands=node.expands,
        fingerprint=node.fingerprint is not None,
        not_idempotent=not node.idempotent,
        validation=validation,
        any_type_inputs=node.any_type_inputs,
        any_type_outputs=node.any_type_outputs,
    )


def provider_server(provider: Provider, address: str) -> AioServer:
    """Not started yet. Raises Unready (ADDRESS_IN_USE)."""
    return aio_server(
        address,
        {"heliograph.graph.v1.NodeProvider": lambda server: rpc.add_NodeProviderServicer_to_server(provider, server)},
        service="provider",
    )


async def serve_nodes(address: str, nodes: Iterable[ProvidedNode], *, threads: int = 4, grace_s: float = 5.0) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = stop_event_on_signals()
    provider = Provider(nodes, threads=threads)
    try:
        server = provider_server(provider, address)
        await server.start()
        await server.ready()
        _LOG.info("provider answers on port %d", server.port)
        await stop.wait()
        provider.end_watches()
        await server.stop(grace_s)
    finally:
        provider.close()


def serve(address: str, nodes: Iterable[ProvidedNode], *, threads: int = 4) -> None:
    """A provider's main: `serve("127.0.0.1:8195", NODES)`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with suppress(KeyboardInterrupt):
        run_service(serve_nodes(address, nodes, threads=threads))
