"""Control of a Triton server: load, unload, ready, index, statistics; every call has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from kit.errors import HeliographError, InvalidModel, TooSlow, Unready
from kit.serve import channel_options
from kit.status import from_rpc_error

_POLL_S = 0.1


class TritonControl:
    """One Triton server at `address` (host:port, gRPC). Deadlines in seconds."""

    def __init__(self, address: str, *, start_s: float = 30.0, call_s: float = 10.0, load_s: float = 300.0) -> None:
        self.address = address
        self._start_s, self._call_s, self._load_s = start_s, call_s, load_s
        self._channel = grpc.insecure_channel(address, options=channel_options())
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def wait_until_live(self) -> None:
        """Waits up to `start_s` for a server that is starting. Raises Unready (BACKEND_DOWN)."""
        try:
            self._stub.ServerLive(pb.ServerLiveRequest(), timeout=self._start_s, wait_for_ready=True)
        except grpc.RpcError as error:
            raise Unready(
                "Triton does not answer: start it, or choose the embedded engine",
                reason="BACKEND_DOWN", address=self.address, waited_s=self._start_s,
            ) from error  # fmt: skip

    def load(self, name: str) -> None:
        """Load a model of the repository and wait until it is ready.

        Raises Unready (BACKEND_DOWN), InvalidModel where Triton refuses it, TooSlow.
        """
        self.wait_until_live()
        try:
            self._stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), timeout=self._load_s)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
                raise InvalidModel(
                    "Triton cannot load the model", reason="TRITON_LOAD", servable=name, cause=error.details()
                ) from error
            raise from_rpc_error(error) from error
        self._wait(lambda: self.is_ready(name), name, "ready")

    def unload(self, name: str) -> None:
        """Unload a model; calls in flight end before its memory is given back. Unknown ones are no error."""
        request = pb.RepositoryModelUnloadRequest(model_name=name)
        self._call(self._stub.RepositoryModelUnload, request)
        self._wait(lambda: not self._is_leaving(name), name, "unloaded")

    def is_ready(self, name: str) -> bool:
        """Whether it takes calls for the model; False also while the server is away."""
        try:
            return bool(self._call(self._stub.ModelReady, pb.ModelReadyRequest(name=name)).ready)
        except Unready:
            return False

    def index(self) -> Mapping[str, str]:
        """State of every model version in the repository by model name: READY, UNAVAILABLE, LOADING, UNLOADING."""
        answer = self._call(self._stub.RepositoryIndex, pb.RepositoryIndexRequest())
        return {model.name: model.state for model in answer.models}

    def ready_models(self) -> Sequence[str]:
        """Names of the models in memory."""
        return [name for name, state in self.index().items() if state == "READY"]

    def last_inference_ms(self) -> Mapping[str, int]:
        """When each loaded model answered last, Unix milliseconds; nothing where the server is away."""
        try:
            answer = self._call(self._stub.ModelStatistics, pb.ModelStatisticsRequest())
        except HeliographError:
            return {}
        return {model.name: model.last_inference for model in answer.model_stats}

    def _is_leaving(self, name: str) -> bool:
        return self.index().get(name) == "UNLOADING"

    def _wait(self, condition: Callable[[], bool], name: str, word: str) -> None:
        deadline = time.monotonic() + self._load_s
        while not condition():
            if time.monotonic() > deadline:
                raise TooSlow(f"the model is not {word} in time", reason="TRITON_DEADLINE", servable=name)
            time.sleep(_POLL_S)

    def _call(self, method: Callable[..., Any], request: object) -> Any:
        try:
            return method(request, timeout=self._call_s)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
