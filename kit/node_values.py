"""What nodes get and give (numbers, texts, lists, maps, arrays ...) at the wire of NodeProvider, for both sides.

Large arrays leave the messages: by shared memory where both sides see the same, else in chunks that come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from heliograph.graph.v1 import node_value_pb2 as pb

from kit import shared_files
from kit.errors import Busy, InvalidRequest
from kit.literal_values import check_depth, unfit, whole
from kit.shared_files import SharedFile
from kit.tensors import Array, from_raw, kserve_name, nbytes_of, raw_view

CHUNK_BYTES = 8 << 20
MAX_CALL_BYTES = 8 << 30
"""Tensors of one call, one direction."""
_INLINE_BYTES = 64 << 10  # one tensor; larger ones leave the message
_INLINE_TOTAL = 16 << 20
_MAX_TENSORS = 10_000


@dataclass(frozen=True)
class FileName:
    """A file of the installation."""

    type: str
    subfolder: str
    filename: str


@dataclass(frozen=True)
class Blocked:
    """Forbids whoever takes it to run."""

    message: str | None = None


@dataclass(frozen=True)
class NodeLink:
    """An output of another node."""

    node_id: str
    slot: int


@dataclass(frozen=True)
class HandleRef:
    """An object that stays with the provider."""

    id: str
    size_bytes: int = 0


@dataclass(frozen=True)
class HostRef:
    """An object that stays with the engine."""

    id: str
    type: str = ""


@dataclass(frozen=True)
class SameAs:
    """The value that came in."""

    input: str
    index: int | None = None


Convert = Callable[[Any], Any]
"""Of one value, before it is looked at (sending) or after it was made (receiving)."""


def unchanged(value: Any) -> Any:
    """Converts nothing."""
    return value


class Outgoing:
    """Values of one call on their way out."""

    def __init__(self, convert: Convert = unchanged, *, shared: bool = False) -> None:
        self._convert = convert
        self._large: list[memoryview] = []
        self._inline = 0
        self._offset = 0
        self._file = SharedFile() if shared else None

    def pack(self, value: Any, depth: int = 0) -> pb.Value:
        """Raises InvalidRequest (NODE_VALUE) for what cannot travel."""
        check_depth(depth)
        value = self._convert(value)
        match value:
            case None:
                return pb.Value()
            case bool() | np.bool_():
                return pb.Value(bool_value=bool(value))
            case int() | np.integer():
                return whole(int(value))
            case float() | np.floating():
                return pb.Value(float_value=float(value))
            case str():
                return pb.Value(string_value=value)
            case bytes() | bytearray():
                return pb.Value(bytes_value=bytes(value))
            case np.ndarray():
                return pb.Value(tensor=self._tensor(value))
            case FileName():
                return pb.Value(
                    file=pb.FileReference(type=value.type, subfolder=value.subfolder, filename=value.filename)
                )
            case Blocked():
                return pb.Value(blocker=pb.Blocker(message=value.message))
            case NodeLink():
                return pb.Value(link=pb.Link(node_id=value.node_id, slot=value.slot))
            case HandleRef():
                return pb.Value(handle=pb.Handle(id=value.id, size_bytes=value.size_bytes))
            case HostRef():
                return pb.Value(host_object=pb.HostObject(id=value.id, type=value.type))
            case SameAs():
                return pb.Value(same_as=pb.InputReference(input=value.input, index=value.index))
            case Mapping():
                return pb.Value(map=pb.ValueMap(entries={_key(k): self.pack(v, depth + 1) for k, v in value.items()}))
            case list() | tuple():
                return pb.Value(list=pb.ValueList(values=[self.pack(item, depth + 1) for item in value]))
        raise unfit(value)

    def settle(self) -> None:
        """Once all is packed. Raises Busy (SHARED_MEMORY_FULL), InvalidRequest."""
        if sum(view.nbytes for view in self._large) > MAX_CALL_BYTES or len(self._large) > _MAX_TENSORS:
            raise InvalidRequest("too much for one call", reason="NODE_VALUE", max_bytes=MAX_CALL_BYTES)
        if self._file is not None and self._large:
            self._file.write(self._large)

    def chunks(self) -> Iterator[pb.TensorChunk]:
        """What has to be sent before the message."""
        for number, view in enumerate(() if self._file is not None else self._large):
            for at in range(0, view.nbytes, CHUNK_BYTES):
                yield pb.TensorChunk(number=number, contents=bytes(view[at : at + CHUNK_BYTES]))

    @property
    def file(self) -> SharedFile | None:
        """Where the large arrays are; None: nowhere but in `chunks`."""
        return self._file if self._large else None

    def close(self) -> None:
        """Lets go of shared memory: the other side has read it."""
        if self._file is not None:
            self._file.close()

    def _tensor(self, array: Array) -> pb.Tensor:
        view = raw_view(array)
        tensor = pb.Tensor(datatype=kserve_name(array.dtype), shape=array.shape)
        if view.nbytes <= _INLINE_BYTES and self._inline + view.nbytes <= _INLINE_TOTAL:
            self._inline += view.nbytes
            tensor.raw = view.tobytes()
            return tensor
        if self._file is None:
            tensor.chunked = len(self._large)
        else:
            region = pb.SharedRegion(key=self._file.key, offset_bytes=self._offset, size_bytes=view.nbytes)
            tensor.shared.CopyFrom(region)
        self._large.append(view)
        self._offset += shared_files.aligned(view.nbytes)
        return tensor


M = TypeVar("M")


def packed(build: Callable[[Outgoing], M], convert: Convert, shared: bool) -> tuple[M, Outgoing]:
    """A message made of packed values; where shared memory is full its tensors travel in chunks."""
    outgoing = Outgoing(convert, shared=shared)
    try:
        message = build(outgoing)
        outgoing.settle()
    except Busy:
        outgoing.close()
        if not shared:
            raise
        return packed(build, convert, False)
    except BaseException:
        outgoing.close()
        raise
    return message, outgoing


class Incoming:
    """Values of one call that came in. `receipt`: shared files are removed once they were read (answers)."""

    def __init__(self, convert: Convert = unchanged, *, receipt: bool = False) -> None:
        self.convert = convert
        self._receipt = receipt
        self._chunks: list[bytearray] = []
        self._total = 0
        self._read: set[str] = set()

    def take(self, chunk: pb.TensorChunk) -> None:
        """Keeps a chunk. Raises InvalidRequest (TENSOR_CHUNK)."""
        self._total += len(chunk.contents)
        new = chunk.number == len(self._chunks)
        if chunk.number > len(self._chunks) or chunk.number >= _MAX_TENSORS or self._total > MAX_CALL_BYTES:
            raise InvalidRequest("chunks out of order or too many", reason="TENSOR_CHUNK", number=chunk.number)
        if new:
            self._chunks.append(bytearray())
        self._chunks[chunk.number] += chunk.contents

    def unpack(self, value: pb.Value, depth: int = 0) -> Any:
        """Raises InvalidRequest."""
        check_depth(depth)
        return self.convert(self._plain(value, depth))

    def close(self) -> None:
        """Call it once all was unpacked."""
        if self._receipt:
            for key in self._read:
                shared_files.remove(key)

    def _plain(self, value: pb.Value, depth: int) -> Any:
        match kind := value.WhichOneof("kind"):
            case None:
                return None
            case "list":
                return [self.unpack(item, depth + 1) for item in value.list.values]
            case "map":
                return {key: self.unpack(item, depth + 1) for key, item in value.map.entries.items()}
            case "tensor":
                return self._array(value.tensor)
            case "file":
                return FileName(value.file.type, value.file.subfolder, value.file.filename)
            case "blocker":
                return Blocked(value.blocker.message if value.blocker.HasField("message") else None)
            case "link":
                return NodeLink(value.link.node_id, value.link.slot)
            case "handle":
                return HandleRef(value.handle.id, max(0, value.handle.size_bytes))
            case "host_object":
                return HostRef(value.host_object.id, value.host_object.type)
            case "same_as":
                same = value.same_as
                return SameAs(same.input, same.index if same.HasField("index") else None)
        return getattr(value, kind)

    def _array(self, tensor: pb.Tensor) -> Array:
        size = nbytes_of(tensor.datatype, tensor.shape)
        if size > MAX_CALL_BYTES:
            raise InvalidRequest("too much for one call", reason="NODE_VALUE", max_bytes=MAX_CALL_BYTES)
        raw: bytes | bytearray
        match tensor.WhichOneof("contents"):
            case "shared":
                region = tensor.shared
                if region.size_bytes != size:
                    raise InvalidRequest("a region does not have its tensor's size", reason="SHARED_REGION")
                self._read.add(region.key)
                raw = shared_files.read(region.key, region.offset_bytes, size)
            case "chunked":
                if tensor.chunked >= len(self._chunks):
                    # A tensor without elements has no chunks.
                    raw = b""
                else:
                    raw = self._chunks[tensor.chunked]
            case _:
                raw = tensor.raw
        return from_raw(tensor.datatype, tensor.shape, raw)


def _key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise InvalidRequest("a map has a key that is no text", reason="NODE_VALUE", type=type(key).__name__)
