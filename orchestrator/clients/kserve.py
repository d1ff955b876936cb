"""A client of one KServe v2 server: raw contents over gRPC, or tensors in system shared memory."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc

from kit import telemetry
from kit.errors import Busy, HeliographError, Internal, InvalidRequest, NotFound, Stopped, Unready, Unsupported
from kit.serve import MAX_MESSAGE_BYTES, channel_options
from kit.status import from_rpc_error
from kit.tensors import from_raw, kserve_name, numpy_type, raw_bytes
from orchestrator.clients.regions import Region, RegionPool

Array = npt.NDArray[Any]
Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Outputs by name: KServe data type and shape."""

_ALIGN: Final = 64
_POLL_S: Final = 0.05
# Room for names, shapes and framing beside the raw contents of a message.
_MESSAGE_ROOM: Final = 1 << 20
# Below this a message carries tensors faster than a detour over shared memory.
_INLINE_BYTES: Final = 16 << 10
_REMEMBERED: Final = 256
# Calls that last took less are waited for in the thread that makes them, which saves the hand-over from gRPC's thread:
# half a millisecond. They cannot be cancelled then, so not for longer than the deadline.
_QUICK_S: Final = 0.1
_QUICK_DEADLINE_S: Final = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One inference. `outputs`: names to ask for; `expected`: what is known of them before the first answer."""

    model: str
    inputs: Mapping[str, Array]
    outputs: Sequence[str] = ()
    expected: Shapes | None = None

    @property
    def signature(self) -> tuple[object, ...]:
        """Calls with one signature have answers of one shape."""
        return (self.model, *((name, array.dtype.str, array.shape) for name, array in sorted(self.inputs.items())))


@dataclass(frozen=True)
class _Seen:
    """What the last call of a signature gave and how long it took, seconds."""

    shapes: Shapes
    seconds: float


class KServeClient:
    """Inference on one server; safe for threads. Raises typed errors; a region in doubt is never used again."""

    def __init__(self, address: str, *, shared_memory: bool, deadline_s: float, pool: RegionPool | None = None) -> None:
        self._address = address
        self._channel = grpc.insecure_channel(address, options=channel_options())
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._deadline_s = deadline_s
        self._pool = (pool or RegionPool()) if shared_memory else None
        self._registered: set[str] = set()
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def infer(self, call: Call, check_cancelled: Callable[[], None]) -> dict[str, Array]:
        """Outputs by name, writable arrays of their own memory.

        Raises Unready (server gone), NotFound (model unknown there), TooSlow, Stopped, InvalidRequest, Unsupported
        (MESSAGE_TOO_LARGE), Internal.
        """
        signature = call.signature
        with self._lock:
            seen = self._seen.get(signature)
        shapes = call.expected if seen is None else seen.shapes
        wait = _Wait(check_cancelled, quick=seen is not None and seen.seconds < _QUICK_S)
        nbytes = sum(array.nbytes for array in call.inputs.values())
        begun = time.perf_counter()
        with telemetry.span(
            telemetry.SPAN_MODEL_CALL, servable=call.model, endpoint=self._address, payload_bytes=nbytes,
            shared_memory=self._pool is not None,
        ):  # fmt: skip
            try:
                outputs = self._outputs(call, nbytes, shapes, wait)
            except _SlowerThanBefore:
                # Once more, so that it can be cancelled; the call changes nothing.
                outputs = self._outputs(call, nbytes, shapes, replace(wait, quick=False))
        self._remember(signature, outputs, time.perf_counter() - begun)
        return outputs

    def forget(self) -> None:
        """The server was restarted: nothing is registered there any more."""
        with self._lock:
            self._registered.clear()

    def wait_until_ready(self, timeout_s: float, check_cancelled: Callable[[], None]) -> None:
        """Blocks until the server can be reached. Raises Unready (BACKEND_DOWN), Stopped."""
        wait_until_ready(self._channel, self._address, timeout_s, check_cancelled)

    def close(self) -> None:
        """Gives memory back, also at the server where it answers."""
        for region in () if self._pool is None else self._pool.close():
            self._unregister(region)
        self._channel.close()

    def _outputs(self, call: Call, nbytes: int, shapes: Shapes | None, wait: _Wait) -> dict[str, Array]:
        if self._pool is not None and nbytes >= _INLINE_BYTES:
            try:
                return self._shared(self._pool, call, shapes, wait)
            except _NotShared as refusal:
                _LOG.warning("%s: tensors go by messages, not by shared memory: %s", self._address, refusal)
                self._pool = None
        _refuse_oversized(call, shapes)
        return self._inline(call, wait)

    def _remember(self, signature: tuple[object, ...], outputs: Mapping[str, Array], seconds: float) -> None:
        shapes = {name: (kserve_name(array.dtype), array.shape) for name, array in outputs.items()}
        with self._lock:
            self._seen[signature] = _Seen(shapes, seconds)
            self._seen.move_to_end(signature)
            while len(self._seen) > _REMEMBERED:
                self._seen.popitem(last=False)

    def _inline(self, call: Call, wait: _Wait) -> dict[str, Array]:
        request = _request(call)
        for name, array in call.inputs.items():
            _add_input(request, name, array)
            request.raw_input_contents.append(raw_bytes(array))
        request.outputs.extend(service_pb2.ModelInferRequest.InferRequestedOutputTensor(name=n) for n in call.outputs)
        return _inline_outputs(self._answer(request, wait))

    def _shared(self, pool: RegionPool, call: Call, shapes: Shapes | None, wait: _Wait) -> dict[str, Array]:
        """Inputs in shared memory; outputs too once their shapes are known."""
        places, size = _layout(call.inputs, shapes)
        try:
            region = pool.take(size)
        except Busy as error:
            raise _NotShared(str(error)) from error
        try:
            self._register(region)
            request = _request(call)
            _write_inputs(request, call.inputs, places, region)
            _ask_outputs(request, call, shapes, places, region)
            response = self._answer_with(region, request, wait)
            outputs = _outputs(response, shapes, places, region)
        except BaseException:
            # The server may still write into it.
            self._drop(region)
            raise
        surplus = pool.give(region)
        if surplus is not None:
            self._drop(surplus)
        return outputs

    def _answer_with(self, region: Region, request: Any, wait: _Wait) -> Any:
        try:
            return self._answer(request, wait)
        except (InvalidRequest, NotFound) as error:
            if region.name not in str(error) and "shared memory" not in str(error).lower():
                raise
            # The server was restarted since the region was registered there.
            self.forget()
            self._register(region)
            return self._answer(request, wait)

    def _answer(self, request: Any, wait: _Wait) -> Any:
        metadata = telemetry.outgoing()
        if wait.quick:
            try:
                return self._stub.ModelInfer(request, timeout=_QUICK_DEADLINE_S, metadata=metadata)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise _SlowerThanBefore from error
                raise _typed(error, wait.check_cancelled) from error
        future = self._stub.ModelInfer.future(request, timeout=self._deadline_s, metadata=metadata)
        return answer_of(future, wait.check_cancelled)

    def _register(self, region: Region) -> None:
        with self._lock:
            if region.name in self._registered:
                return
        request = service_pb2.SystemSharedMemoryRegisterRequest(name=region.name, key=region.key, byte_size=region.size)
        try:
            self._stub.SystemSharedMemoryRegister(request, timeout=self._deadline_s)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.ALREADY_EXISTS:
                typed = from_rpc_error(error)
                raise typed if isinstance(typed, Unready) else _NotShared(str(typed)) from error
        with self._lock:
            self._registered.add(region.name)

    def _unregister(self, region: Region) -> None:
        with self._lock:
            self._registered.discard(region.name)
        try:
            request = service_pb2.SystemSharedMemoryUnregisterRequest(name=region.name)
            self._stub.SystemSharedMemoryUnregister(request, timeout=1.0)
        except grpc.RpcError as error:
            _LOG.debug("%s did not unregister %s: %s", self._address, region.name, error)

    def _drop(self, region: Region) -> None:
        region.unlink()
        self._unregister(region)


@dataclass(frozen=True)
class _Wait:
    """How to wait for an answer. `check_cancelled` raises Stopped; `quick`: it is expected at once."""

    check_cancelled: Callable[[], None]
    quick: bool


class _SlowerThanBefore(Exception):
    """A call that was expected at once did not answer."""


class _NotShared(Exception):
    """Shared memory cannot be used with this server."""


def answer_of(future: Any, check_cancelled: Callable[[], None]) -> Any:
    """The answer of a pending call; cancels it when `check_cancelled` raises. Raises typed errors."""
    while True:
        try:
            return future.result(timeout=_POLL_S)
        except grpc.FutureTimeoutError:
            try:
                check_cancelled()
            except HeliographError:
                future.cancel()
                raise
        except grpc.FutureCancelledError as error:
            raise Stopped("the call was cancelled", reason="CALL_CANCELLED") from error
        except grpc.RpcError as error:
            raise _typed(error, check_cancelled) from error


def _typed(error: grpc.RpcError, check_cancelled: Callable[[], None]) -> HeliographError:
    typed = from_rpc_error(error)
    if isinstance(typed, Stopped):
        check_cancelled()
        # Nobody here stopped it: the server is going down.
        return Unready("the model server ended the call", reason="BACKEND_DOWN")
    return typed


def wait_until_ready(
    channel: grpc.Channel, address: str, timeout_s: float, check_cancelled: Callable[[], None]
) -> None:
    """Blocks until a channel is connected. Raises Unready (BACKEND_DOWN), and what `check_cancelled` raises."""
    ready = grpc.channel_ready_future(channel)
    try:
        for _ in range(max(1, round(timeout_s / _POLL_S))):
            check_cancelled()
            try:
                ready.result(timeout=_POLL_S)
            except grpc.FutureTimeoutError:
                continue
            return
    finally:
        ready.cancel()
    raise Unready("the model server does not answer", reason="BACKEND_DOWN", address=address, waited_s=timeout_s)


def _request(call: Call) -> Any:
    return service_pb2.ModelInferRequest(model_name=call.model)


def _add_input(request: Any, name: str, array: Array) -> Any:
    tensor = request.inputs.add()
    tensor.name, tensor.datatype = name, kserve_name(array.dtype)
    tensor.shape.extend(array.shape)
    return tensor


def _layout(inputs: Mapping[str, Array], shapes: Shapes | None) -> tuple[dict[str, tuple[int, int]], int]:
    """(offset, bytes) of every tensor, inputs as `<name` and outputs as `>name`, and the size of the whole."""
    sizes = {f"<{name}": array.nbytes for name, array in inputs.items()}
    sizes |= {f">{name}": _nbytes(datatype, shape) for name, (datatype, shape) in (shapes or {}).items()}
    places: dict[str, tuple[int, int]] = {}
    offset = 0
    for key, nbytes in sizes.items():
        places[key] = offset, nbytes
        offset += -(-nbytes // _ALIGN) * _ALIGN
    return places, max(offset, _ALIGN)


def _nbytes(datatype: str, shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * numpy_type(datatype).itemsize


def _place(tensor: Any, region: Region, place: tuple[int, int]) -> None:
    tensor.parameters["shared_memory_region"].string_param = region.name
    tensor.parameters["shared_memory_offset"].int64_param = place[0]
    tensor.parameters["shared_memory_byte_size"].int64_param = place[1]


def _view(region: Region, place: tuple[int, int], dtype: np.dtype[Any], shape: Sequence[int]) -> Array:
    offset, nbytes = place
    return cast(Array, region.bytes[offset : offset + nbytes].view(dtype).reshape(tuple(shape)))


def _write_inputs(
    request: Any, inputs: Mapping[str, Array], places: Mapping[str, tuple[int, int]], region: Region
) -> None:
    for name, array in inputs.items():
        place = places[f"<{name}"]
        np.copyto(_view(region, place, array.dtype, array.shape), array)
        _place(_add_input(request, name, array), region, place)


def _ask_outputs(
    request: Any, call: Call, shapes: Shapes | None, places: Mapping[str, tuple[int, int]], region: Region
) -> None:
    for name in shapes or call.outputs:
        tensor = request.outputs.add()
        tensor.name = name
        if shapes is not None:
            _place(tensor, region, places[f">{name}"])


def _outputs(
    response: Any, shapes: Shapes | None, places: Mapping[str, tuple[int, int]], region: Region
) -> dict[str, Array]:
    if shapes is None:
        return _inline_outputs(response)
    outputs: dict[str, Array] = {}
    for tensor in response.outputs:
        offset, room = places[f">{tensor.name}"]
        nbytes = _nbytes(tensor.datatype, tensor.shape)
        if nbytes > room:
            raise Internal("the answer is larger than its place in shared memory", output=tensor.name, bytes=nbytes)
        view = _view(region, (offset, nbytes), numpy_type(tensor.datatype), tensor.shape)
        outputs[tensor.name] = view.copy()  # the region serves the next call
    return outputs


def _inline_outputs(response: Any) -> dict[str, Array]:
    if len(response.outputs) != len(response.raw_output_contents):
        raise Internal("the answer has no raw contents for some outputs", outputs=len(response.outputs))
    return {
        tensor.name: from_raw(tensor.datatype, tensor.shape, raw).copy()
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


def _refuse_oversized(call: Call, shapes: Shapes | None) -> None:
    sent = sum(array.nbytes for array in call.inputs.values())
    received = sum(_nbytes(datatype, shape) for datatype, shape in (shapes or {}).values())
    if max(sent, received) > MAX_MESSAGE_BYTES - _MESSAGE_ROOM:
        raise Unsupported(
            "these tensors are too large for one message: use the tiled node, smaller pictures, or a model server on "
            "this machine with shared memory",
            reason="MESSAGE_TOO_LARGE", bytes=max(sent, received), limit=MAX_MESSAGE_BYTES,
        )  # fmt: skip
