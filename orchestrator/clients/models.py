"""The `Models` port over gRPC: the model service, and the KServe v2 servers that it names."""

from __future__ import annotations

import atexit
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import grpc
import numpy as np
from heliograph.common.v1 import file_pb2
from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as pb_grpc

from kit import telemetry
from kit.errors import HeliographError, Internal, NotFound, Unready
from kit.serve import channel_options
from kit.status import from_rpc_error
from kit.tensors import stored_type
from orchestrator.clients.kserve import Array, Call, KServeClient, Shapes, answer_of, wait_until_ready
from orchestrator.clients.regions import sweep
from orchestrator.ports import ComponentInfo, ModelInfo, Servable
from orchestrator.values.models import FileRef, NetworkRef

_T = TypeVar("_T")
_WATCH_S = 0.05
# Prepared networks that are known without asking; a workflow uses a handful, every LoRA strength is one more.
_REMEMBERED = 1024


def _never() -> None:
    """Nobody can cancel."""


def _unheard(stage: str, fraction: float) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class ModelClientOptions:
    """`address` of the model service. Deadlines in seconds; `restart_s`: how long a server may take to come back."""

    address: str
    shared_memory: Literal["auto", "off"] = "auto"
    list_s: float = 30.0
    describe_s: float = 900.0  # the digest of a large file on a slow disk
    prepare_s: float = 1800.0
    infer_s: float = 1800.0
    restart_s: float = 60.0


@dataclass
class _Connections:
    """What all bound copies share: channels, and which network each servable id stands for."""

    options: ModelClientOptions
    channel: grpc.Channel
    stub: pb_grpc.ModelServiceStub
    lock: threading.Lock = field(default_factory=threading.Lock)
    clients: dict[tuple[str, bool], KServeClient] = field(default_factory=dict)
    servables: dict[NetworkRef, Servable] = field(default_factory=dict)
    networks: dict[str, NetworkRef] = field(default_factory=dict)

    def client(self, servable: Servable) -> KServeClient:
        shared = servable.shared_memory and self.options.shared_memory == "auto"
        with self.lock:
            client = self.clients.get((servable.endpoint, shared))
            if client is None:
                client = KServeClient(servable.endpoint, shared_memory=shared, deadline_s=self.options.infer_s)
                self.clients[servable.endpoint, shared] = client
            return client

    def remember(self, network: NetworkRef, servable: Servable) -> None:
        with self.lock:
            self.servables[network] = servable
            self.networks[servable.id] = network
            # The oldest goes; it is prepared again when it is asked for.
            while len(self.servables) > _REMEMBERED:
                del self.servables[next(iter(self.servables))]
            while len(self.networks) > _REMEMBERED:
                del self.networks[next(iter(self.networks))]

    def forget(self, network: NetworkRef) -> None:
        with self.lock:
            self.servables.pop(network, None)
            clients = tuple(self.clients.values())
        for client in clients:
            client.forget()


class GrpcModels:
    """`Models` for one worker process; `bound` gives each run its own view with its cancel and progress.

    A server that restarts does not fail a run: the network is prepared again and the call, which changes nothing,
    repeated once.
    """

    def __init__(self, options: ModelClientOptions) -> None:
        channel = grpc.insecure_channel(options.address, options=channel_options())
        self._connections = _Connections(options, channel, pb_grpc.ModelServiceStub(channel))
        self._check_cancelled: Callable[[], None] = _never
        self._on_stage: Callable[[str, float], None] = _unheard
        if options.shared_memory == "auto":
            sweep()
        atexit.register(self.close)

    def bound(
        self, check_cancelled: Callable[[], None], on_stage: Callable[[str, float], None] = _unheard
    ) -> GrpcModels:
        """The same connections for one run. `check_cancelled` raises Stopped; `on_stage` hears of loading."""
        view = object.__new__(GrpcModels)
        view._connections = self._connections
        view._check_cancelled = check_cancelled
        view._on_stage = on_stage
        return view

    def close(self) -> None:
        """Closes connections and gives shared memory back; for the owner, at the end of the process."""
        atexit.unregister(self.close)
        with self._connections.lock:
            clients = list(self._connections.clients.values())
            self._connections.clients.clear()
        for client in clients:
            client.close()
        self._connections.channel.close()

    def describe(self, folder: str, name: str) -> ModelInfo:
        """Header facts and digest. Raises NotFound, InvalidModel, Unsupported, Unready, Stopped."""
        request = pb.DescribeModelRequest(file=file_pb2.FileRef(folder=folder, name=name))
        stub = self._connections.stub
        return _model_info(self._call(stub.DescribeModel, request, self._options.describe_s))

    def list_files(self, folder: str) -> tuple[str, ...]:
        """File names of a folder kind. Raises NotFound, Unready, Stopped."""
        request = pb.ListModelsRequest(folder=folder)
        answer: pb.ListModelsResponse = self._call(self._connections.stub.ListModels, request, self._options.list_s)
        return tuple(model.file.name for model in answer.files)

    def read_tensors(self, folder: str, name: str) -> dict[str, Array]:
        """Small tensors of a file as float32. Raises NotFound, InvalidModel, Unready, Stopped."""
        request = pb.ReadTensorsRequest(file=file_pb2.FileRef(folder=folder, name=name))
        stub = self._connections.stub
        answer: pb.ReadTensorsResponse = self._call(stub.ReadTensors, request, self._options.list_s)
        return {tensor.name: _float32(tensor) for tensor in answer.tensors}

    def prepare(self, network: NetworkRef) -> Servable:
        """Make it ready; an answer is remembered. Raises InvalidModel, Unsupported, Busy, Unready, Stopped."""
        with self._connections.lock:
            known = self._connections.servables.get(network)
        if known is not None:
            return known
        with telemetry.span(telemetry.SPAN_PREPARE, arch=network.arch, component=network.component):
            servable = self._again(lambda: self._prepared(network))
        self._connections.remember(network, servable)
        return servable

    def infer(self, servable: Servable, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call. Raises Unready (server died and did not come back), TooSlow, Stopped."""
        try:
            return self._infer(servable, inputs)
        except (Unready, NotFound):
            network = self._connections.networks.get(servable.id)
            if network is None:
                raise
        self._connections.forget(network)
        self._connections.client(servable).wait_until_ready(self._options.restart_s, self._check_cancelled)
        return self._infer(self.prepare(network), inputs)

    @property
    def _options(self) -> ModelClientOptions:
        return self._connections.options

    def _infer(self, servable: Servable, inputs: Mapping[str, Array]) -> dict[str, Array]:
        network = self._connections.networks.get(servable.id)
        call = Call(servable.id, inputs, servable.outputs, _expected(network, servable, inputs))
        return self._connections.client(servable).infer(call, self._check_cancelled)

    def _call(self, method: Callable[..., _T], request: object, timeout_s: float) -> _T:
        def once() -> _T:
            future = method.future(request, timeout=timeout_s, metadata=telemetry.outgoing())  # type: ignore[attr-defined]  # the generated stub types methods as plain callables
            answer: _T = answer_of(future, self._check_cancelled)
            return answer

        return self._again(once)

    def _again(self, call: Callable[[], _T]) -> _T:
        """Once more, when the model service is back, if it was not there."""
        try:
            return call()
        except Unready:
            connections = self._connections
            wait_until_ready(
                connections.channel, connections.options.address, connections.options.restart_s, self._check_cancelled
            )
            return call()

    def _prepared(self, network: NetworkRef) -> Servable:
        stream = self._connections.stub.Prepare(
            pb.PrepareRequest(spec=_spec(network)), timeout=self._options.prepare_s, metadata=telemetry.outgoing()
        )
        with _watched(stream, self._check_cancelled):
            try:
                for progress in stream:
                    if progress.HasField("servable"):
                        return _servable(progress.servable)
                    self._on_stage(progress.stage, progress.fraction)
            except grpc.RpcError as error:
                self._check_cancelled()
                raise from_rpc_error(error) from error
        raise Internal("the model service ended without a servable", file=network.file.name)


@contextmanager
def _watched(stream: Any, check_cancelled: Callable[[], None]) -> Iterator[None]:
    """Cancels a stream that is being read as soon as `check_cancelled` raises."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_WATCH_S):
            try:
                check_cancelled()
            except HeliographError:  # the reading thread raises it
                stream.cancel()
                return

    watcher = threading.Thread(target=watch, name="prepare-watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _spec(network: NetworkRef) -> pb.ServableSpec:
    patches = [pb.Patch(lora=pb.LoraPatch(file=_file(p.file), strength=p.strength)) for p in network.patches]
    return pb.ServableSpec(
        component=network.component, file=_file(network.file), patches=patches, precision=network.precision
    )


def _file(file: FileRef) -> file_pb2.FileRef:
    return file_pb2.FileRef(folder=file.folder, name=file.name, digest=file.digest)


def _facts(text: str) -> Mapping[str, object]:
    return MappingProxyType(json.loads(text) if text else {})


def _servable(message: pb.Servable) -> Servable:
    outputs = tuple(output.name for output in message.outputs)
    return Servable(
        message.id, message.endpoint, message.shared_memory, message.arch, _facts(message.facts_json), outputs
    )


def _model_info(message: pb.DescribeModelResponse) -> ModelInfo:
    file = message.file.file
    components = tuple(ComponentInfo(part.component, part.arch, _facts(part.facts_json)) for part in message.components)
    return ModelInfo(FileRef(file.folder, file.name, file.digest), message.kind, message.family, components)


def _float32(tensor: pb.Tensor) -> Array:
    raw = np.frombuffer(tensor.data, stored_type(tensor.dtype)).reshape(tuple(tensor.shape))
    return raw.astype(np.float32)


def _expected(network: NetworkRef | None, servable: Servable, inputs: Mapping[str, Array]) -> Shapes | None:
    """Pictures are the one answer that is much larger than its question: their shape is known beforehand."""
    scale, channels = servable.facts.get("downscale"), servable.facts.get("image_channels")
    if network is None or network.component != "vae_decoder" or not isinstance(scale, int):
        return None
    batch, _, height, width = inputs["latent"].shape
    image_channels = channels if isinstance(channels, int) else 3
    return {"image": ("FP32", (batch, image_channels, height * scale, width * scale))}
