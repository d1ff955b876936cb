"""Tensors at the wire: numpy arrays <-> KServe v2 raw contents, and the one table of data type names.

Raw contents are little-endian and C-contiguous. Decoding never copies (the array is a read-only view of the given
buffer); encoding copies only what is not laid out that way already.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from kit.errors import InvalidRequest, Unsupported

if TYPE_CHECKING:
    from typing_extensions import Buffer

Array = npt.NDArray[Any]

MAX_DIMENSIONS = 32


@dataclass(frozen=True)
class TensorType:
    """One data type under its three names; None where a world has no word for it.

    KServe v2 knows no 8-bit floats: FP8_E4M3 and FP8_E5M2 are our own words, used between our own services only.
    """

    safetensors: str | None
    kserve: str | None
    numpy: np.dtype[Any] | None
    bits: int


def _row(safetensors: str | None, kserve: str | None, numpy: object | None, bits: int) -> TensorType:
    dtype = None if numpy is None else np.dtype(numpy)  # type: ignore[call-overload]  # ml_dtypes has no stubs
    return TensorType(safetensors, kserve, dtype, bits)


TENSOR_TYPES: tuple[TensorType, ...] = (
    _row("BOOL", "BOOL", np.bool_, 8),
    _row("U8", "UINT8", np.uint8, 8),
    _row("U16", "UINT16", "<u2", 16),
    _row("U32", "UINT32", "<u4", 32),
    _row("U64", "UINT64", "<u8", 64),
    _row("I8", "INT8", np.int8, 8),
    _row("I16", "INT16", "<i2", 16),
    _row("I32", "INT32", "<i4", 32),
    _row("I64", "INT64", "<i8", 64),
    _row("F16", "FP16", "<f2", 16),
    _row("BF16", "BF16", ml_dtypes.bfloat16, 16),
    _row("F32", "FP32", "<f4", 32),
    _row("F64", "FP64", "<f8", 64),
    _row("C64", None, "<c8", 64),
    _row("F8_E4M3", "FP8_E4M3", ml_dtypes.float8_e4m3fn, 8),
    _row("F8_E5M2", "FP8_E5M2", ml_dtypes.float8_e5m2, 8),
    _row("F8_E8M0", None, ml_dtypes.float8_e8m0fnu, 8),
    _row("F8_E4M3FNUZ", None, ml_dtypes.float8_e4m3fnuz, 8),
    _row("F8_E5M2FNUZ", None, ml_dtypes.float8_e5m2fnuz, 8),
    # Packed formats: their sizes are known, so files that hold them can be listed, but numpy cannot address them.
    _row("F4", None, None, 4),
    _row("F6_E2M3", None, None, 6),
    _row("F6_E3M2", None, None, 6),
    _row(None, "BYTES", np.object_, 0),
)

BY_SAFETENSORS = {row.safetensors: row for row in TENSOR_TYPES if row.safetensors is not None}
BY_KSERVE = {row.kserve: row for row in TENSOR_TYPES if row.kserve is not None}
_BY_NUMPY = {row.numpy: row for row in TENSOR_TYPES if row.numpy is not None}


def numpy_type(kserve: str) -> np.dtype[Any]:
    """The numpy type of a KServe data type name; `InvalidRequest` for a name that is none."""
    row = BY_KSERVE.get(kserve)
    if row is None or row.numpy is None:
        raise InvalidRequest("unknown tensor data type", reason="TENSOR_TYPE", datatype=kserve[:64])
    return row.numpy


def kserve_name(dtype: npt.DTypeLike) -> str:
    """The KServe name of a numpy type, any byte order; `InvalidRequest` where it has none. Text counts as BYTES."""
    wanted = np.dtype(dtype)
    if wanted.kind in "SU":
        return "BYTES"
    row = _BY_NUMPY.get(wanted.newbyteorder("<"))
    if row is None or row.kserve is None:
        raise InvalidRequest("this array type cannot travel", reason="TENSOR_TYPE", datatype=str(wanted))
    return row.kserve


def stored_type(safetensors: str) -> np.dtype[Any]:
    """The numpy type of a safetensors name; `Unsupported` for packed formats and unknown names."""
    row = BY_SAFETENSORS.get(safetensors)
    if row is None or row.numpy is None:
        raise Unsupported("weights of this data type cannot be read", reason="WEIGHTS_DTYPE", dtype=safetensors)
    return row.numpy


def stored_name(dtype: npt.DTypeLike) -> str:
    """The safetensors name of a numpy type; `InvalidRequest` where the format has none."""
    row = _BY_NUMPY.get(np.dtype(dtype).newbyteorder("<"))
    if row is None or row.safetensors is None:
        raise InvalidRequest("this array type has no safetensors name", reason="TENSOR_TYPE", datatype=str(dtype))
    return row.safetensors


def nbytes_of(kserve: str, shape: Sequence[int]) -> int:
    """Bytes of raw contents for a fixed-size type; checks the shape."""
    dtype = numpy_type(kserve)
    if dtype.hasobject:
        raise InvalidRequest("BYTES has no fixed size", reason="TENSOR_TYPE", datatype=kserve)
    return math.prod(_checked_shape(shape)) * dtype.itemsize


def raw_view(array: Array) -> memoryview:
    """Raw contents of an array as a flat byte view: of its own memory where that is little-endian and C-contiguous.

    For shared memory and files. Text and object arrays are encoded as BYTES (a copy).
    """
    if kserve_name(array.dtype if array.dtype.kind != "O" else np.dtype(object)) == "BYTES":
        return memoryview(_encode_elements(array))
    flat = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(-1)
    return flat.view(np.uint8).data


def raw_bytes(array: Array) -> bytes:
    """Raw contents of an array as `bytes` (protobuf takes nothing else); one copy."""
    return raw_view(array).tobytes()


def from_raw(kserve: str, shape: Sequence[int], raw: Buffer) -> Array:
    """The array that `raw` holds: a read-only view, no copy (BYTES: an object array of `bytes`).

    Raises `InvalidRequest` where the type, the shape or the size is wrong.
    """
    dtype = numpy_type(kserve)
    sides = _checked_shape(shape)
    view = memoryview(raw).cast("B")
    if dtype.hasobject:
        return _decode_elements(view, sides)
    wanted = math.prod(sides) * dtype.itemsize
    if view.nbytes != wanted:
        raise InvalidRequest(
            "raw contents do not have the size of their shape",
            reason="TENSOR_SIZE", datatype=kserve, shape=list(sides), bytes=view.nbytes, wanted=wanted,
        )  # fmt: skip
    octets: npt.NDArray[np.uint8] = np.frombuffer(view, np.uint8)
    if dtype == np.bool_ and octets.size and octets.max() > 1:
        raise InvalidRequest("BOOL contents are 0 or 1", reason="TENSOR_CONTENT", found=int(octets.max()))
    array: Array = octets.view(dtype).reshape(sides)
    array.flags.writeable = False
    return array


def _checked_shape(shape: Sequence[int]) -> tuple[int, ...]:
    sides = tuple(int(side) for side in shape)
    if len(sides) > MAX_DIMENSIONS or any(side < 0 or side >= 1 << 63 for side in sides) or math.prod(sides) >= 1 << 63:
        raise InvalidRequest("this is no tensor shape", reason="TENSOR_SHAPE", shape=str(list(sides[:8])))
    return sides


def _encode_elements(array: Array) -> bytes:
    """BYTES: each element as a 4-byte little-endian length and its content, in C order."""
    parts: list[bytes] = []
    for element in array.reshape(-1).tolist():
        content = element.encode() if isinstance(element, str) else element
        if not isinstance(content, bytes):
            raise InvalidRequest("BYTES holds text or bytes", reason="TENSOR_CONTENT", found=type(element).__name__)
        parts += (struct.pack("<I", len(content)), content)
    return b"".join(parts)


def _decode_elements(view: memoryview, sides: tuple[int, ...]) -> Array:
    elements: list[bytes] = []
    wanted, at = math.prod(sides), 0
    while at < view.nbytes and len(elements) < wanted:
        if view.nbytes - at < 4:
            raise InvalidRequest("BYTES contents end inside a length", reason="TENSOR_SIZE", at=at)
        (length,) = struct.unpack_from("<I", view, at)
        if length > view.nbytes - at - 4:
            raise InvalidRequest("BYTES contents end inside an element", reason="TENSOR_SIZE", at=at, length=length)
        elements.append(bytes(view[at + 4 : at + 4 + length]))
        at += 4 + length
    if len(elements) != wanted or at != view.nbytes:
        raise InvalidRequest(
            "BYTES contents do not have as many elements as their shape",
            reason="TENSOR_SIZE", elements=len(elements), wanted=wanted,
        )  # fmt: skip
    array = np.empty(wanted, dtype=object)
    array[:] = elements
    return array.reshape(sides)
