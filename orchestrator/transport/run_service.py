"""heliograph.graph.v1.RunService: decode, call, encode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from heliograph.graph.v1 import run_service_pb2 as pb
from heliograph.graph.v1 import run_service_pb2_grpc as rpc

from orchestrator.runs.intake import Intake
from orchestrator.runs.runs import Runs
from orchestrator.transport.codec_events import encode_event
from orchestrator.transport.codec_queue import EncodedQueue
from orchestrator.transport.codec_runs import (
    decode_free,
    decode_page,
    decode_selection,
    decode_submit,
    encode_bare_run,
    encode_catalogue,
    encode_explanation,
    encode_receipt,
    encode_run,
)  # fmt: skip
from orchestrator.transport.system import System


class RunServicer(rpc.RunServiceServicer):
    """What clients and bridges call."""

    def __init__(self, runs: Runs, intake: Intake, system: System) -> None:
        self._runs = runs
        self._intake = intake
        self._system = system
        self._whole, self._bare = EncodedQueue(encode_run), EncodedQueue(encode_bare_run)

    async def SubmitRun(self, request: pb.SubmitRunRequest, context: Any) -> pb.SubmitRunResponse:
        """Validates and stores a run."""
        return encode_receipt(await self._intake.submit(decode_submit(request)))

    async def GetRun(self, request: pb.GetRunRequest, context: Any) -> pb.GetRunResponse:
        """One run with its outcome."""
        return pb.GetRunResponse(run=encode_run(await self._runs.get(request.run_id)))

    async def ListQueue(self, request: pb.ListQueueRequest, context: Any) -> pb.ListQueueResponse:
        """Running and pending runs."""
        if request.counts_only:
            running_count, pending_count = self._runs.counts()
            return pb.ListQueueResponse(running_count=running_count, pending_count=pending_count)
        version = self._runs.queue_version
        if request.known_version == version:
            running_count, pending_count = self._runs.counts()
            return pb.ListQueueResponse(running_count=running_count, pending_count=pending_count, version=version)
        encoded = self._bare if request.without_prompts else self._whole
        return encoded.queue(*self._runs.queue(), version)

    async def ListHistory(self, request: pb.ListHistoryRequest, context: Any) -> pb.ListHistoryResponse:
        """Finished runs, oldest first."""
        if request.HasField("selection"):
            selection = decode_selection(request.selection)
            runs, total = await self._runs.history.select(selection, *decode_page(request))
            return pb.ListHistoryResponse(runs=map(encode_run, runs), total=total)
        runs = await self._runs.history.page(*decode_page(request))
        return pb.ListHistoryResponse(runs=map(encode_run, runs))

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: Any) -> pb.ExplainRunResponse:
        """What a workflow would do here."""
        targets = tuple(request.partial_execution_targets) if request.targets_given else None
        return encode_explanation(*await self._intake.explain(request.workflow_json, targets))

    async def CancelRun(self, request: pb.CancelRunRequest, context: Any) -> pb.CancelRunResponse:
        """Stops running runs or removes pending ones."""
        stopped = await self._runs.cancel(request.run_ids, include_pending=request.include_pending)
        return pb.CancelRunResponse(run_ids=stopped)

    async def DeletePending(self, request: pb.DeletePendingRequest, context: Any) -> pb.DeletePendingResponse:
        """Removes pending runs."""
        deleted = await self._runs.delete_pending(None if request.all else request.run_ids)
        return pb.DeletePendingResponse(deleted=deleted)

    async def DeleteHistory(self, request: pb.DeleteHistoryRequest, context: Any) -> pb.DeleteHistoryResponse:
        """Removes finished runs."""
        history = self._runs.history
        return pb.DeleteHistoryResponse(
            deleted=await (history.clear() if request.all else history.delete(request.run_ids))
        )

    async def WatchRun(self, request: pb.WatchRunRequest, context: Any) -> AsyncIterator[pb.WatchRunResponse]:
        """Events of one run, from its beginning."""
        async for event in self._runs.watch(request.run_id):
            yield pb.WatchRunResponse(event=encode_event(event))

    async def WatchRuns(self, request: pb.WatchRunsRequest, context: Any) -> AsyncIterator[pb.WatchRunsResponse]:
        """Events of all runs."""
        async for burst in self._runs.watch_all(request.after_sequence, request.epoch):
            if request.bursts:
                yield pb.WatchRunsResponse(events=map(encode_event, burst))
                continue
            for event in burst:
                yield pb.WatchRunsResponse(event=encode_event(event))

    async def ListNodeTypes(self, request: pb.ListNodeTypesRequest, context: Any) -> pb.ListNodeTypesResponse:
        """The node catalogue in ComfyUI's object_info form."""
        if request.node_type:
            return pb.ListNodeTypesResponse(object_info_json=await self._system.one_object_info(request.node_type))
        return encode_catalogue(await self._system.object_info(), request)

    async def GetSystem(self, request: pb.GetSystemRequest, context: Any) -> pb.GetSystemResponse:
        """Memory, versions, worker states."""
        return pb.GetSystemResponse(system_json=self._system.facts_json(), workers=self._runs.leasing.worker_count())

    async def FreeMemory(self, request: pb.FreeMemoryRequest, context: Any) -> pb.FreeMemoryResponse:
        """Asks workers to drop cached results and model servables."""
        await self._system.free(decode_free(request))
        return pb.FreeMemoryResponse()
