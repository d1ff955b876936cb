"""A front and a model service in memory behind real grpc.aio servers; a test scripts what they answer and what happens.

State is plain attributes, changed by the test; call `emit`, `break_streams` and `restart` on the server's event loop.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import posixpath
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from heliograph.artifact.v1 import artifact_service_pb2 as artifact
from heliograph.artifact.v1 import artifact_service_pb2_grpc
from heliograph.common.v1 import file_pb2
from heliograph.graph.v1 import event_pb2 as events
from heliograph.graph.v1 import run_service_pb2 as graph
from heliograph.graph.v1 import run_service_pb2_grpc
from heliograph.model.v1 import model_service_pb2 as model
from heliograph.model.v1 import model_service_pb2_grpc

from kit.errors import InvalidPrompt, InvalidRequest, NotFound
from kit.serve import AioServer, aio_server
from orchestrator.transport.codec_runs import workflow_id

FileKey = tuple[str, str, str]
NO_PROMPT = {
    "error": {
        "type": "no_prompt",
        "message": "No prompt provided",
        "details": "No prompt provided",
        "extra_info": {},
    },
    "node_errors": {},
}


@dataclass
class StoredFile:
    """A file of an area."""

    data: bytes
    modified_ns: int = 1_795_381_797_000_000_000


@dataclass
class Backend:
    """Everything the fakes know; `fail` makes a method raise, `calls` records requests by method name."""

    running: list[graph.Run] = field(default_factory=list)
    pending: list[graph.Run] = field(default_factory=list)
    history: list[graph.Run] = field(default_factory=list)
    files: dict[FileKey, StoredFile] = field(default_factory=dict)
    models: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    search_paths: dict[str, list[str]] = field(default_factory=dict)
    model_facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    object_info: dict[str, Any] = field(default_factory=dict)
    system: dict[str, Any] = field(default_factory=dict)
    fail: dict[str, Exception] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    submit: Callable[[graph.SubmitRunRequest], graph.SubmitRunResponse] | None = None
    uploads_begun: int = 0
    largest_chunk: int = 0
    page_limit: int | None = None
    epoch: str = "epoch-1"
    events: list[events.RunEvent] = field(default_factory=list)
    watchers: list[asyncio.Queue[events.RunEvent | Exception]] = field(default_factory=list)
    watch_requests: list[graph.WatchRunsRequest] = field(default_factory=list)
    watch_extra: list[events.RunEvent] = field(default_factory=list)
    counter: int = 0

    def clear(self) -> None:
        """Forgets everything but the event stream."""
        for container in (self.running, self.pending, self.history, self.files, self.models, self.object_info):
            container.clear()
        self.search_paths.clear()
        self.model_facts.clear()
        for container in (self.system, self.fail, self.calls, self.watch_requests, self.watch_extra):
            container.clear()
        self.submit, self.page_limit = None, None
        self.uploads_begun, self.largest_chunk, self.counter = 0, 0, 0

    def note(self, name: str, request: Any) -> None:
        """Records a call and fails it if the test says so."""
        self.calls.append((name, request))
        if name in self.fail:
            raise self.fail[name]

    def called(self, name: str) -> list[Any]:
        """Requests of one method."""
        return [request for called, request in self.calls if called == name]

    def emit(self, *happened: events.RunEvent) -> None:
        """Publishes events under the next sequence numbers."""
        for event in happened:
            event = _copy(event)
            event.sequence = len(self.events) + 1
            event.epoch = self.epoch
            self.events.append(event)
            for watcher in self.watchers:
                watcher.put_nowait(event)

    def break_streams(self, error: Exception) -> None:
        """Ends every open event stream with an error."""
        for watcher in self.watchers:
            watcher.put_nowait(error)

    def restart(self, epoch: str) -> None:
        """Forgets all events, as a new process would."""
        self.epoch = epoch
        self.events.clear()


def _copy(event: events.RunEvent) -> events.RunEvent:
    fresh = events.RunEvent()
    fresh.CopyFrom(event)
    return fresh


class FakeRuns(run_service_pb2_grpc.RunServiceServicer):
    """RunService."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def SubmitRun(self, request: graph.SubmitRunRequest, context: Any) -> graph.SubmitRunResponse:
        backend = self._backend
        backend.note("SubmitRun", request)
        number = float(backend.counter)
        backend.counter += 1
        if not request.prompt_json:
            raise InvalidPrompt("no prompt", reason="NO_PROMPT", body=NO_PROMPT)
        if backend.submit is not None:
            return backend.submit(request)
        given = request.HasField("number")
        place = request.number if given else -number if request.front else number
        run_id = request.prompt_id or f"run-{int(number)}"
        return graph.SubmitRunResponse(run_id=run_id, number=place, number_given=given)

    async def GetRun(self, request: graph.GetRunRequest, context: Any) -> graph.GetRunResponse:
        self._backend.note("GetRun", request)
        for run in (*self._backend.history, *self._backend.running, *self._backend.pending):
            if run.run_id == request.run_id:
                return graph.GetRunResponse(run=run)
        raise NotFound("no such run", reason="PROMPT_NOT_FOUND", prompt_id=request.run_id)

    async def ListQueue(self, request: graph.ListQueueRequest, context: Any) -> graph.ListQueueResponse:
        self._backend.note("ListQueue", request)
        running, pending = self._backend.running, self._backend.pending
        counts = graph.ListQueueResponse(running_count=len(running), pending_count=len(pending))
        if not request.counts_only:
            counts.running.extend(running)
            counts.pending.extend(pending)
        return counts

    async def ListHistory(self, request: graph.ListHistoryRequest, context: Any) -> graph.ListHistoryResponse:
        self._backend.note("ListHistory", request)
        runs = self._backend.history
        if request.HasField("selection"):
            return self._selected(request)
        limit = request.max_items if request.HasField("max_items") else len(runs)
        start = request.offset if request.HasField("offset") else max(0, len(runs) - limit)
        page = runs[start : start + limit]
        if self._backend.page_limit is not None and len(page) > self._backend.page_limit:
            raise InvalidRequest("too large", reason="ANSWER_TOO_LARGE", fits=self._backend.page_limit)
        return graph.ListHistoryResponse(runs=page)

    def _selected(self, request: graph.ListHistoryRequest) -> graph.ListHistoryResponse:
        """As the front: filtered, sorted, without what was submitted."""
        selection = request.selection
        runs = []
        for run in self._backend.history:
            bare = graph.Run()
            bare.CopyFrom(run)
            bare.workflow_id = workflow_id(run.extra_data_json)
            bare.ClearField("prompt_json")
            bare.ClearField("extra_data_json")
            if run.state in selection.states and selection.workflow_id in ("", bare.workflow_id):
                runs.append(bare)
        by_duration = selection.order == graph.HISTORY_ORDER_DURATION
        runs.sort(
            key=lambda run: run.ended_ms - run.started_ms if by_duration else run.created_ms,
            reverse=selection.descending,
        )
        part = runs[request.offset : request.offset + request.max_items]
        if self._backend.page_limit is not None and len(part) > self._backend.page_limit:
            raise InvalidRequest("too large", reason="ANSWER_TOO_LARGE", fits=self._backend.page_limit)
        return graph.ListHistoryResponse(runs=part, total=len(runs))

    async def CancelRun(self, request: graph.CancelRunRequest, context: Any) -> graph.CancelRunResponse:
        backend = self._backend
        backend.note("CancelRun", request)
        named = set(request.run_ids)
        told = [run.run_id for run in backend.running if not named or run.run_id in named]
        if request.include_pending:
            told += [run.run_id for run in backend.pending if run.run_id in named]
            backend.pending[:] = [run for run in backend.pending if run.run_id not in named]
        return graph.CancelRunResponse(run_ids=told)

    async def DeletePending(self, request: graph.DeletePendingRequest, context: Any) -> graph.DeletePendingResponse:
        self._backend.note("DeletePending", request)
        return graph.DeletePendingResponse()

    async def DeleteHistory(self, request: graph.DeleteHistoryRequest, context: Any) -> graph.DeleteHistoryResponse:
        self._backend.note("DeleteHistory", request)
        return graph.DeleteHistoryResponse()

    async def ListNodeTypes(self, request: graph.ListNodeTypesRequest, context: Any) -> graph.ListNodeTypesResponse:
        self._backend.note("ListNodeTypes", request)
        known = self._backend.object_info
        chosen = {key: known[key] for key in known if request.node_type in ("", key)}
        text = json.dumps(chosen).encode()
        version = hashlib.sha256(text).hexdigest() if not request.node_type else ""
        if version and version == request.known_version:
            return graph.ListNodeTypesResponse(version=version)
        if request.gzipped:
            return graph.ListNodeTypesResponse(version=version, object_info_gzip=gzip.compress(text))
        return graph.ListNodeTypesResponse(version=version, object_info_json=text)

    async def GetSystem(self, request: graph.GetSystemRequest, context: Any) -> graph.GetSystemResponse:
        self._backend.note("GetSystem", request)
        return graph.GetSystemResponse(system_json=json.dumps(self._backend.system).encode(), workers=1)

    async def FreeMemory(self, request: graph.FreeMemoryRequest, context: Any) -> graph.FreeMemoryResponse:
        self._backend.note("FreeMemory", request)
        return graph.FreeMemoryResponse()

    async def WatchRuns(self, request: graph.WatchRunsRequest, context: Any) -> AsyncIterator[graph.WatchRunsResponse]:
        """As the front: without an epoch from now, of this epoch what follows, of another epoch all there is."""
        backend = self._backend
        backend.note("WatchRuns", request)
        backend.watch_requests.append(request)
        after = len(backend.events) if not request.epoch else 0
        if request.epoch == backend.epoch:
            after = request.after_sequence
        queue: asyncio.Queue[events.RunEvent | Exception] = asyncio.Queue()
        for event in (*backend.watch_extra, *backend.events[after:]):
            queue.put_nowait(event)
        backend.watchers.append(queue)
        try:
            while True:
                item = await queue.get()
                if isinstance(item, Exception):
                    raise item
                yield graph.WatchRunsResponse(events=[item]) if request.bursts else graph.WatchRunsResponse(event=item)
        finally:
            backend.watchers.remove(queue)


class FakeArtifacts(artifact_service_pb2_grpc.ArtifactServiceServicer):
    """ArtifactService, with the front's naming rules."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def UploadArtifact(
        self, requests: AsyncIterator[artifact.UploadArtifactRequest], context: Any
    ) -> artifact.UploadArtifactResponse:
        backend = self._backend
        backend.uploads_begun += 1
        header = (await anext(aiter(requests))).header
        data = bytearray()
        async for part in requests:
            backend.largest_chunk = max(backend.largest_chunk, len(part.chunk))
            data += part.chunk
        backend.note("UploadArtifact", header)
        ref, copy = header.ref, 0
        stem, ending = posixpath.splitext(ref.filename)
        digest = hashlib.sha256(data).digest()
        while True:
            name = ref.filename if copy == 0 else f"{stem} ({copy}){ending}"
            known = backend.files.get((ref.type, ref.subfolder, name))
            if known is None or header.overwrite or hashlib.sha256(known.data).digest() == digest:
                break
            copy += 1
        backend.files[ref.type, ref.subfolder, name] = StoredFile(bytes(data))
        stored = artifact.ArtifactRef(type=ref.type, subfolder=ref.subfolder, filename=name)
        return artifact.UploadArtifactResponse(ref=stored)

    async def StatArtifact(self, request: artifact.StatArtifactRequest, context: Any) -> artifact.StatArtifactResponse:
        self._backend.note("StatArtifact", request)
        stored = self._find(request.ref)
        return artifact.StatArtifactResponse(size_bytes=len(stored.data), modified_ns=stored.modified_ns)

    async def DownloadArtifact(
        self, request: artifact.DownloadArtifactRequest, context: Any
    ) -> AsyncIterator[artifact.DownloadArtifactResponse]:
        self._backend.note("DownloadArtifact", request)
        data = self._find(request.ref).data[request.offset :]
        if request.length:
            data = data[: request.length]
        for start in range(0, len(data), 64 * 1024):
            yield artifact.DownloadArtifactResponse(chunk=data[start : start + 64 * 1024])

    async def ListArtifacts(
        self, request: artifact.ListArtifactsRequest, context: Any
    ) -> artifact.ListArtifactsResponse:
        self._backend.note("ListArtifacts", request)
        found = [(-f.modified_ns, name) for (area, sub, name), f in self._backend.files.items() if area == request.type]
        return artifact.ListArtifactsResponse(filenames=[name for _, name in sorted(found)])

    def _find(self, ref: artifact.ArtifactRef) -> StoredFile:
        stored = self._backend.files.get((ref.type, ref.subfolder, ref.filename))
        if stored is None:
            raise NotFound("no such file", reason="ARTIFACT_NOT_FOUND", filename=ref.filename)
        return stored


class FakeModels(model_service_pb2_grpc.ModelServiceServicer):
    """ModelService, lists and metadata only."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListFolders(self, request: model.ListFoldersRequest, context: Any) -> model.ListFoldersResponse:
        self._backend.note("ListFolders", request)
        backend = self._backend
        folders = [model.Folder(name=name, paths=backend.search_paths.get(name)) for name in backend.models]
        return model.ListFoldersResponse(folders=folders)

    async def ListModels(self, request: model.ListModelsRequest, context: Any) -> model.ListModelsResponse:
        self._backend.note("ListModels", request)
        if request.folder not in self._backend.models:
            raise NotFound("no such folder", reason="FOLDER_NOT_FOUND", folder=request.folder)
        refs = [file_pb2.FileRef(folder=request.folder, name=name) for name in self._backend.models[request.folder]]
        facts = self._backend.model_facts
        return model.ListModelsResponse(files=[model.ModelFile(file=ref, **facts.get(ref.name, {})) for ref in refs])

    async def DescribeModel(self, request: model.DescribeModelRequest, context: Any) -> model.DescribeModelResponse:
        self._backend.note("DescribeModel", request)
        metadata = self._backend.models.get(request.file.folder, {}).get(request.file.name)
        if metadata is None:
            raise NotFound("no such file", reason="WEIGHTS_NOT_FOUND", name=request.file.name)
        return model.DescribeModelResponse(metadata=metadata)


def fake_server(backend: Backend, address: str = "127.0.0.1:0") -> AioServer:
    """All three services on one port; start it, and stop it with `stop`."""
    return aio_server(
        address,
        {
            "heliograph.graph.v1.RunService": lambda server: run_service_pb2_grpc.add_RunServiceServicer_to_server(
                FakeRuns(backend), server
            ),
            "heliograph.artifact.v1.ArtifactService": lambda server: (
                artifact_service_pb2_grpc.add_ArtifactServiceServicer_to_server(FakeArtifacts(backend), server)
            ),
            "heliograph.model.v1.ModelService": lambda server: (
                model_service_pb2_grpc.add_ModelServiceServicer_to_server(FakeModels(backend), server)
            ),
        },
        service="fake-front",
    )
