"""ModelInfer messages <-> arrays: raw contents or shared memory, checked against a servable's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2 as pb

from kit.errors import InvalidRequest
from kit.tensors import BY_KSERVE, from_raw, kserve_name, numpy_type, raw_bytes
from model_service.archs.spec import Signature, TensorSpec
from model_service.transport.regions import Regions

Array = npt.NDArray[Any]

_REGION, _OFFSET, _SIZE = "shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"
# Typed contents by data type; the others exist as raw contents only.
_CONTENTS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def check_request(request: pb.ModelInferRequest, signature: Signature) -> None:
    """Names, types and fixed sides of all inputs, and names of the outputs. Raises InvalidRequest."""
    model = request.model_name
    wanted = {spec.name: spec for spec in signature.inputs}
    given = [tensor.name for tensor in request.inputs]
    for name in given:
        if name not in wanted:
            raise _refused("unexpected inference input", model, input=name)
    if sorted(given) != sorted(wanted):
        raise _refused(
            f"expected {len(wanted)} inputs but got {len(given)} inputs", model,
            missing=", ".join(sorted(wanted.keys() - set(given))) or "none", given=", ".join(given),
        )  # fmt: skip
    for tensor in request.inputs:
        _check_input(tensor, wanted[tensor.name], model)
    known = {spec.name for spec in signature.outputs}
    for output in request.outputs:
        if output.name not in known:
            raise _refused("unexpected inference output", model, output=output.name)
        if "classification" in output.parameters:
            raise _refused("classification of outputs is not offered", model, output=output.name)


def wanted_outputs(request: pb.ModelInferRequest, signature: Signature) -> Sequence[str]:
    """Names of the outputs that the answer has: those asked for, or all."""
    return [output.name for output in request.outputs] or [spec.name for spec in signature.outputs]


def batch_of(request: pb.ModelInferRequest, signature: Signature) -> int:
    """Items in the request: the first input's first side where that may vary."""
    first = signature.inputs[0]
    shape = next(tensor.shape for tensor in request.inputs if tensor.name == first.name)
    return int(shape[0]) if first.shape and isinstance(first.shape[0], str) else 1


def decode_inputs(request: pb.ModelInferRequest, regions: Regions) -> dict[str, Array]:
    """Arrays by name; views of the message or of shared memory where possible. Raises InvalidRequest, NotFound."""
    raw = iter(request.raw_input_contents)
    shared = [_REGION in tensor.parameters for tensor in request.inputs]
    if len(request.raw_input_contents) not in (0, shared.count(False)):
        raise _refused(
            "the number of raw contents is not that of the inputs outside shared memory",
            request.model_name, raw=len(request.raw_input_contents), inputs=shared.count(False),
        )  # fmt: skip
    arrays = {}
    for tensor, in_region in zip(request.inputs, shared, strict=True):
        if in_region:
            place = _place(tensor.parameters)
            array = regions.read(*place, tensor.datatype, tensor.shape)
        elif request.raw_input_contents:
            array = from_raw(tensor.datatype, tensor.shape, next(raw))
        else:
            array = _typed(tensor)
        arrays[tensor.name] = array
    return arrays


def encode_answer(
    request: pb.ModelInferRequest, arrays: Mapping[str, Array], regions: Regions, version: str
) -> pb.ModelInferResponse:
    """The answer: raw contents, empty for outputs that were put into shared memory."""
    answer = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    places = {output.name: output.parameters for output in request.outputs}
    for name, array in arrays.items():
        tensor = answer.outputs.add(name=name, datatype=kserve_name(array.dtype), shape=array.shape)
        parameters = places.get(name, {})
        if _REGION in parameters:
            region, offset, room = _place(parameters)
            written = regions.write(region, offset, room, array)
            tensor.parameters[_REGION].string_param = region
            tensor.parameters[_OFFSET].int64_param = offset
            tensor.parameters[_SIZE].int64_param = written
            answer.raw_output_contents.append(b"")
        else:
            answer.raw_output_contents.append(raw_bytes(array))
    return answer


def _refused(message: str, model: str, **facts: object) -> InvalidRequest:
    return InvalidRequest(message, reason="INFER_REQUEST", model=model, **facts)


def _check_input(tensor: Any, spec: TensorSpec, model: str) -> None:
    if tensor.datatype != spec.dtype:
        raise _refused(
            "an input has another data type", model, input=spec.name, given=tensor.datatype, expected=spec.dtype
        )
    fits = len(tensor.shape) == len(spec.shape) and all(
        given == side if isinstance(side, int) else given > 0
        for given, side in zip(tensor.shape, spec.shape, strict=True)
    )
    if not fits:
        expected = [-1 if isinstance(side, str) else side for side in spec.shape]
        raise _refused(
            "unexpected shape for an input", model, input=spec.name, given=list(tensor.shape), expected=expected
        )


def _place(parameters: Mapping[str, Any]) -> tuple[str, int, int]:
    """Region, offset and size in bytes."""
    offset = parameters[_OFFSET].int64_param if _OFFSET in parameters else 0
    if _SIZE not in parameters:
        raise InvalidRequest("shared_memory_byte_size is missing", reason="SHARED_MEMORY_BOUNDS")
    return parameters[_REGION].string_param, offset, parameters[_SIZE].int64_param


def _typed(tensor: Any) -> Array:
    """An array from the typed contents that curl-like clients send."""
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        known = tensor.datatype in BY_KSERVE
        raise InvalidRequest(
            "this data type travels as raw contents only" if known else "unknown tensor data type",
            reason="TENSOR_TYPE", datatype=tensor.datatype[:64],
        )  # fmt: skip
    values = getattr(tensor.contents, field)
    shape = tuple(tensor.shape)
    wanted = int(np.prod(shape, dtype=np.int64))
    if len(values) != wanted:
        raise InvalidRequest(
            "input byte size mismatch", reason="TENSOR_SIZE", input=tensor.name, elements=len(values), wanted=wanted
        )
    try:
        array: Array = np.array(list(values), dtype=numpy_type(tensor.datatype)).reshape(shape)
    except OverflowError as error:
        raise InvalidRequest(
            "a value does not fit its data type", reason="TENSOR_CONTENT", input=tensor.name
        ) from error
    return array
