"""Calls to the front and the model service: each with a deadline, failures as typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from heliograph.artifact.v1.artifact_service_pb2_grpc import ArtifactServiceStub
from heliograph.common.v1 import file_pb2
from heliograph.graph.v1 import event_pb2
from heliograph.graph.v1 import run_service_pb2 as graph
from heliograph.graph.v1.run_service_pb2_grpc import RunServiceStub
from heliograph.model.v1 import model_service_pb2 as model
from heliograph.model.v1.model_service_pb2_grpc import ModelServiceStub

from kit import telemetry
from kit.errors import HeliographError, InvalidRequest, NotFound, TooSlow, Unready
from kit.status import from_rpc_error

CHUNK_BYTES = 512 * 1024
# History is read in pages: all of it need not fit into one message.
_PAGE = 64
_SUMMARIES = 1000
_TOO_LARGE = "ANSWER_TOO_LARGE"

_Response = TypeVar("_Response")


class Readable(Protocol):
    """An open upload."""

    async def read(self, size: int = -1) -> bytes:
        """Next bytes, empty at the end."""


async def _call(method: Callable[..., Awaitable[_Response]], request: Any, timeout_s: float) -> _Response:
    try:
        return await method(request, timeout=timeout_s, metadata=telemetry.outgoing())
    except grpc.RpcError as error:
        raise _typed(error) from error


def _typed(error: grpc.RpcError) -> HeliographError:
    """The error behind a failed call; what the transport says of a lost peer names addresses, so it stays with us."""
    typed = from_rpc_error(error)
    if typed.reason != "BACKEND_DOWN":
        return typed
    return Unready("a service that this needs cannot be reached; it may be starting", reason=typed.reason)


class Runs:
    """RunService of the front."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = RunServiceStub(channel)
        self._timeout_s = timeout_s

    async def submit(self, request: graph.SubmitRunRequest) -> graph.SubmitRunResponse:
        """Stores a run. Raises InvalidPrompt, Conflict, Busy, Unready."""
        return await _call(self._stub.SubmitRun, request, self._timeout_s)

    async def queue(self, *, without_prompts: bool = False, known_version: str = "") -> graph.ListQueueResponse:
        """Running and pending runs; none are listed if they are those of `known_version`."""
        request = graph.ListQueueRequest(without_prompts=without_prompts, known_version=known_version)
        return await _call(self._stub.ListQueue, request, self._timeout_s)

    async def explain(self, request: graph.ExplainRunRequest) -> graph.ExplainRunResponse:
        """What a workflow would do. Raises InvalidPrompt, Unsupported, Unready."""
        return await _call(self._stub.ExplainRun, request, self._timeout_s)

    async def unfinished(self, timeout_s: float | None = None) -> int:
        """How many runs run or wait."""
        request = graph.ListQueueRequest(counts_only=True)
        response: graph.ListQueueResponse = await _call(self._stub.ListQueue, request, timeout_s or self._timeout_s)
        return response.running_count + response.pending_count

    async def get(self, run_id: str) -> graph.Run | None:
        """One run; None: unknown."""
        try:
            response: graph.GetRunResponse = await _call(
                self._stub.GetRun, graph.GetRunRequest(run_id=run_id), self._timeout_s
            )
        except NotFound:
            return None
        return response.run

    async def history(self, max_items: int | None, offset: int | None) -> list[graph.Run]:
        """Finished runs, oldest first. Without `offset` the last `max_items`, else those from `offset` on."""
        if max_items is not None and max_items <= _PAGE:
            try:
                return await self._history_page(max_items, offset)
            except InvalidRequest as error:
                if error.reason != _TOO_LARGE:
                    raise
        pages = self.history_pages(offset or 0, max_items if offset is not None else None)
        runs = [run async for page in pages for run in page]
        return runs if max_items is None or offset is not None else runs[-max_items:]

    async def history_pages(self, start: int = 0, wanted: int | None = None) -> AsyncIterator[list[graph.Run]]:
        """Finished runs from the `start`th on, at most `wanted`, oldest first, in lists that fit into one message."""
        size, read = _PAGE, 0
        while wanted is None or read < wanted:
            size = size if wanted is None else min(size, wanted - read)
            try:
                page = await self._history_page(size, start + read)
            except InvalidRequest as error:  # big runs: the front tells how many fit into one message
                if error.reason != _TOO_LARGE or not 0 < int(error.facts.get("fits", "0")) < size:
                    raise
                size = int(error.facts["fits"])
                continue
            read += len(page)
            yield page
            if len(page) < size:
                break
            size = _PAGE

    async def finished(
        self, selection: graph.HistorySelection, start: int, wanted: int | None
    ) -> tuple[list[graph.Run], int]:
        """Of a selection, without what was submitted: at most `wanted` from the `start`th on; and how many it has."""
        size, runs, total = _SUMMARIES, list[graph.Run](), 0
        while wanted is None or len(runs) < wanted:
            size = size if wanted is None else min(size, wanted - len(runs))
            request = graph.ListHistoryRequest(max_items=size, offset=start + len(runs), selection=selection)
            try:
                response: graph.ListHistoryResponse = await _call(self._stub.ListHistory, request, self._timeout_s)
            except InvalidRequest as error:  # big outcomes: the front tells how many fit into one message
                if error.reason != _TOO_LARGE or not 0 < int(error.facts.get("fits", "0")) < size:
                    raise
                size = int(error.facts["fits"])
                continue
            runs += response.runs
            total = response.total
            if len(response.runs) < size:
                break
            size = _SUMMARIES
        return runs, total

    async def _history_page(self, max_items: int, offset: int | None) -> list[graph.Run]:
        request = graph.ListHistoryRequest(max_items=max_items, offset=offset)
        return list((await _call(self._stub.ListHistory, request, self._timeout_s)).runs)

    async def cancel_running(self, run_id: str | None) -> None:
        """Stops this run if it runs; None: every running one."""
        request = graph.CancelRunRequest(run_ids=[run_id] if run_id else [])
        await _call(self._stub.CancelRun, request, self._timeout_s)

    async def cancel(self, run_ids: list[str]) -> list[str]:
        """Stops running runs and removes pending ones; returns those that it concerned."""
        request = graph.CancelRunRequest(run_ids=run_ids, include_pending=True)
        response: graph.CancelRunResponse = await _call(self._stub.CancelRun, request, self._timeout_s)
        return list(response.run_ids)

    async def delete_pending(self, run_ids: list[str], everything: bool) -> None:
        """Takes pending runs out of the queue."""
        await _call(
            self._stub.DeletePending, graph.DeletePendingRequest(run_ids=run_ids, all=everything), self._timeout_s
        )

    async def delete_history(self, run_ids: list[str], everything: bool) -> None:
        """Forgets finished runs."""
        await _call(
            self._stub.DeleteHistory, graph.DeleteHistoryRequest(run_ids=run_ids, all=everything), self._timeout_s
        )

    async def object_info_all(self, known_version: str) -> graph.ListNodeTypesResponse:
        """All node classes, gzipped; without a text if they are those of `known_version`."""
        request = graph.ListNodeTypesRequest(known_version=known_version, gzipped=True)
        return await _call(self._stub.ListNodeTypes, request, self._timeout_s)

    async def object_info(self, node_type: str) -> bytes:
        """`/object_info` of one class as JSON text."""
        request = graph.ListNodeTypesRequest(node_type=node_type)
        response: graph.ListNodeTypesResponse = await _call(self._stub.ListNodeTypes, request, self._timeout_s)
        return response.object_info_json

    async def system(self) -> graph.GetSystemResponse:
        """Versions, memory, workers."""
        return await _call(self._stub.GetSystem, graph.GetSystemRequest(), self._timeout_s)

    async def free(self, unload_models: bool, free_memory: bool) -> None:
        """Asks the workers to let memory go."""
        request = graph.FreeMemoryRequest(unload_models=unload_models, free_memory=free_memory)
        await _call(self._stub.FreeMemory, request, self._timeout_s)

    async def watch(self, after_sequence: int, epoch: str) -> AsyncIterator[event_pb2.RunEvent]:
        """Events of all runs; has no deadline, keepalive notices a dead peer. Raises Unready when the stream breaks."""
        call = self._stub.WatchRuns(graph.WatchRunsRequest(after_sequence=after_sequence, epoch=epoch, bursts=True))
        try:
            async for response in call:
                for event in response.events:
                    yield event
        except grpc.RpcError as error:
            raise _typed(error) from error
        finally:
            call.cancel()


class Artifacts:
    """ArtifactService of the front."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float, transfer_timeout_s: float) -> None:
        self._stub = ArtifactServiceStub(channel)
        self._timeout_s = timeout_s
        self._transfer_timeout_s = transfer_timeout_s

    async def stat(self, ref: artifact.ArtifactRef) -> artifact.StatArtifactResponse:
        """Size and time. Raises NotFound, InvalidRequest (the name leaves its area)."""
        return await _call(self._stub.StatArtifact, artifact.StatArtifactRequest(ref=ref), self._timeout_s)

    async def names(self, area: str) -> list[str]:
        """File names of an area's top level, newest first."""
        response = await _call(self._stub.ListArtifacts, artifact.ListArtifactsRequest(type=area), self._timeout_s)
        return list(response.filenames)

    async def upload(self, ref: artifact.ArtifactRef, overwrite: bool, source: Readable) -> artifact.ArtifactRef:
        """Stores a file in chunks; the answer's name may differ. Raises InvalidRequest."""

        async def parts() -> AsyncIterator[artifact.UploadArtifactRequest]:
            yield artifact.UploadArtifactRequest(header=artifact.UploadHeader(ref=ref, overwrite=overwrite))
            while chunk := await source.read(CHUNK_BYTES):
                yield artifact.UploadArtifactRequest(chunk=chunk)

        response: artifact.UploadArtifactResponse = await _call(
            self._stub.UploadArtifact, parts(), self._transfer_timeout_s
        )
        return response.ref

    async def download(self, ref: artifact.ArtifactRef, offset: int, length: int) -> AsyncGenerator[bytes]:
        """`length` bytes from `offset` on (0: to the end). Raises NotFound, InvalidRequest, TooSlow (no next chunk)."""
        call = self._stub.DownloadArtifact(artifact.DownloadArtifactRequest(ref=ref, offset=offset, length=length))
        try:
            while True:
                async with asyncio.timeout(self._transfer_timeout_s):
                    response = await call.read()
                if not isinstance(response, artifact.DownloadArtifactResponse):  # end of stream
                    return
                yield response.chunk
        except grpc.RpcError as error:
            raise _typed(error) from error
        except TimeoutError as error:
            raise TooSlow("the download stalled", reason="CALL_DEADLINE", filename=ref.filename) from error
        finally:
            call.cancel()


class Models:
    """The parts of ModelService that lists and metadata need."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = ModelServiceStub(channel)
        self._timeout_s = timeout_s

    async def folder_paths(self) -> dict[str, list[str]]:
        """Model folders in ComfyUI's order, each with its absolute search paths on the model service's machine."""
        response = await _call(self._stub.ListFolders, model.ListFoldersRequest(), self._timeout_s)
        return {folder.name: list(folder.paths) for folder in response.folders}

    async def listed(self, folder: str) -> list[model.ModelFile]:
        """Files of a folder with size and times. Raises NotFound (unknown folder)."""
        response = await _call(self._stub.ListModels, model.ListModelsRequest(folder=folder), self._timeout_s)
        return list(response.files)

    async def files(self, folder: str) -> list[str]:
        """Names in a folder. Raises NotFound (unknown folder)."""
        return [entry.file.name for entry in await self.listed(folder)]

    async def metadata(self, folder: str, name: str) -> dict[str, str]:
        """A file's own metadata. Raises NotFound, InvalidModel."""
        file = file_pb2.FileRef(folder=folder, name=name)
        request = model.DescribeModelRequest(file=file, skip_digest=True)
        response = await _call(self._stub.DescribeModel, request, self._timeout_s)
        return dict(response.metadata)
