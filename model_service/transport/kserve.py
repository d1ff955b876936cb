"""The embedded KServe v2 server (`inference.GRPCInferenceService`): decode, call, encode.

Answers as NVIDIA Triton does wherever a client can tell; one conformance suite runs against both. Models are the
servables that Prepare admitted: no path ever comes from a client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

from tritonclient.grpc import model_config_pb2 as config_pb
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from kit.errors import HeliographError, InvalidRequest, NotFound, Stopped, Unsupported
from kit.serve import Register
from model_service.archs.spec import TensorSpec
from model_service.runtime.engine import Cancellation
from model_service.servables.calls import Calls, Runnable, Work
from model_service.servables.residency import Candidate, Resident, State
from model_service.servables.statistics import CallCounts, Duration
from model_service.transport.infer_codec import (
    batch_of,
    check_request,
    decode_inputs,
    encode_answer,
    wanted_outputs,
)
from model_service.transport.regions import Regions

SERVICE = "inference.GRPCInferenceService"
VERSION = "1"
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
EXTENSIONS = (
    "model_repository", "model_configuration", "system_shared_memory", "binary_tensor_data", "parameters", "statistics",
)  # fmt: skip
_INDEX = {
    State.READY: ("READY", ""),
    State.COLD: ("READY", "not in memory, its next call loads it"),
    State.LOADING: ("LOADING", ""),
    State.LEAVING: ("READY", "leaving memory, its next call loads it again"),
    State.WITHDRAWN: ("UNAVAILABLE", "unloaded"),
}
# Data types that the model configuration has words for.
_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


class KServeServicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated, untyped
    """KServe v2 over the servables that `calls` can run; `ready` says whether the server takes calls."""

    def __init__(self, calls: Calls, regions: Regions, ready: Callable[[], bool]) -> None:
        self._calls = calls
        self._residency = calls.residency
        self._regions = regions
        self._ready = ready

    def ServerLive(self, request: pb.ServerLiveRequest, context: Any) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: Any) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._ready())

    def ServerMetadata(self, request: pb.ServerMetadataRequest, context: Any) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(name="heliograph", version=version("heliograph"), extensions=EXTENSIONS)

    def ModelReady(self, request: pb.ModelReadyRequest, context: Any) -> pb.ModelReadyResponse:
        shown = self._shown(request.name, request.version)
        return pb.ModelReadyResponse(ready=bool(shown) and _INDEX[shown[0].state][0] == "READY")

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Any) -> pb.ModelMetadataResponse:
        return encode_metadata(self._served(request.name, request.version))

    def ModelConfig(self, request: pb.ModelConfigRequest, context: Any) -> pb.ModelConfigResponse:
        return pb.ModelConfigResponse(config=encode_config(self._served(request.name, request.version)))

    def ModelStatistics(self, request: pb.ModelStatisticsRequest, context: Any) -> pb.ModelStatisticsResponse:
        if request.name:
            self._served(request.name, request.version)
        names = [request.name] if request.name else [resident.id for resident in self._residency.all()]
        return pb.ModelStatisticsResponse(
            model_stats=[encode_statistics(name, self._calls.statistics.of(name)) for name in names]
        )

    def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:
        cancel = Cancellation()
        if not context.add_callback(lambda: self._calls.stop(cancel)):
            raise Stopped("the call ended before it began", reason="CALL_CANCELLED")
        return self._infer(request, cancel)

    def ModelStreamInfer(
        self, request_iterator: Iterator[pb.ModelInferRequest], context: Any
    ) -> Iterator[pb.ModelStreamInferResponse]:
        """One answer to each request, in order; an error of one request does not end the stream."""
        cancel = Cancellation()
        if not context.add_callback(lambda: self._calls.stop(cancel)):
            return
        for request in request_iterator:
            try:
                yield pb.ModelStreamInferResponse(infer_response=self._infer(request, cancel))
            except HeliographError as error:
                if cancel.cancelled:
                    raise
                failed = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
                yield pb.ModelStreamInferResponse(error_message=str(error), infer_response=failed)

    def RepositoryIndex(self, request: pb.RepositoryIndexRequest, context: Any) -> pb.RepositoryIndexResponse:
        rows = [(resident.id, *_INDEX[resident.state]) for resident in self._residency.all()]
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(name=name, version=VERSION, state=state, reason=reason)
                for name, state, reason in sorted(rows)
                if state == "READY" or not request.ready
            ]
        )

    def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Any
    ) -> pb.RepositoryModelLoadResponse:
        if request.repository_name or request.parameters:
            raise InvalidRequest(
                "only servables that were prepared can be loaded, and as they are", reason="LOAD_OVERRIDE"
            )
        self._residency.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Any
    ) -> pb.RepositoryModelUnloadResponse:
        if self._residency.knows(request.model_name):  # an unknown one is no error, as in Triton
            self._residency.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, context: Any
    ) -> pb.SystemSharedMemoryStatusResponse:
        answer = pb.SystemSharedMemoryStatusResponse()
        for region in self._regions.status(request.name):
            shown = answer.regions[region.name]
            shown.name, shown.key = region.name, region.key
            shown.offset, shown.byte_size = region.offset, region.byte_size
        return answer

    def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, context: Any
    ) -> pb.SystemSharedMemoryRegisterResponse:
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, context: Any
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    def CudaSharedMemoryStatus(self, request: Any, context: Any) -> Any:
        raise _no_cuda()

    def CudaSharedMemoryRegister(self, request: Any, context: Any) -> Any:
        raise _no_cuda()

    def CudaSharedMemoryUnregister(self, request: Any, context: Any) -> Any:
        raise _no_cuda()

    def TraceSetting(self, request: Any, context: Any) -> Any:
        raise Unsupported("tracing is set by HELIOGRAPH_TELEMETRY", reason="TRACE_SETTING")

    def LogSettings(self, request: Any, context: Any) -> Any:
        raise Unsupported("logging is set by HELIOGRAPH_LOG_LEVEL", reason="LOG_SETTINGS")

    def _infer(self, request: pb.ModelInferRequest, cancel: Cancellation) -> pb.ModelInferResponse:
        signature = self._served(request.model_name, request.model_version).signature
        check_request(request, signature)
        work = Work(
            request.model_name,
            decode=lambda: decode_inputs(request, self._regions),
            outputs=wanted_outputs(request, signature),
            encode=lambda arrays: encode_answer(request, arrays, self._regions, VERSION),
            batch=batch_of(request, signature),
        )
        return self._calls.run(work, cancel)

    def _served(self, name: str, model_version: str) -> Candidate[Runnable]:
        if not self._residency.knows(name) or model_version not in ("", VERSION):
            raise NotFound(
                "Request for unknown model is not found", reason="SERVABLE_NOT_FOUND",
                servable=name[:128], version=model_version[:16],
            )  # fmt: skip
        return self._residency.candidate(name)

    def _shown(self, name: str, model_version: str) -> Sequence[Resident]:
        if model_version not in ("", VERSION):
            return ()
        return [resident for resident in self._residency.all() if resident.id == name]


def register(servicer: KServeServicer) -> Register:
    """How a server gets it (kit.serve)."""
    return partial(service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server, servicer)


def _no_cuda() -> Unsupported:
    return Unsupported("this server computes on the CPU: use system shared memory", reason="CUDA_SHARED_MEMORY")


def encode_metadata(candidate: Candidate[Runnable]) -> pb.ModelMetadataResponse:
    """Names, types and shapes; -1 for sides that vary."""
    signature = candidate.signature
    return pb.ModelMetadataResponse(
        name=candidate.id, versions=[VERSION], platform=PLATFORM,
        inputs=[_metadata(spec) for spec in signature.inputs],
        outputs=[_metadata(spec) for spec in signature.outputs],
    )  # fmt: skip


def encode_config(candidate: Candidate[Runnable]) -> config_pb.ModelConfig:
    """The model configuration as Triton would have it: dims with the batch side, hence max_batch_size 0."""
    config = config_pb.ModelConfig(name=candidate.id, platform=PLATFORM, backend=BACKEND, max_batch_size=0)
    config.version_policy.latest.num_versions = 1
    for spec in candidate.signature.inputs:
        config.input.add(name=spec.name, data_type=_config_type(spec), dims=_dims(spec))
    for spec in candidate.signature.outputs:
        config.output.add(name=spec.name, data_type=_config_type(spec), dims=_dims(spec))
    config.instance_group.add(name=candidate.id, count=1, kind=config_pb.ModelInstanceGroup.KIND_CPU)
    return config


def encode_statistics(name: str, counts: CallCounts) -> pb.ModelStatistics:
    """Counts of one servable."""
    return pb.ModelStatistics(
        name=name, version=VERSION, last_inference=counts.last_ms,
        inference_count=counts.inferences, execution_count=counts.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(counts.success), fail=_duration(counts.fail), queue=_duration(counts.queue),
            compute_input=_duration(counts.compute_input), compute_infer=_duration(counts.compute_infer),
            compute_output=_duration(counts.compute_output),
        ),
    )  # fmt: skip


def _metadata(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.dtype, shape=_dims(spec))


def _dims(spec: TensorSpec) -> list[int]:
    return [-1 if isinstance(side, str) else side for side in spec.shape]


def _config_type(spec: TensorSpec) -> int:
    word = _CONFIG_TYPES.get(spec.dtype, f"TYPE_{spec.dtype}")
    known: dict[str, int] = dict(config_pb.DataType.items())
    return known.get(word, 0)  # TYPE_INVALID: 8-bit floats


def _duration(value: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=value.count, ns=value.ns)
