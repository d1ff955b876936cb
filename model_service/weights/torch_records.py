"""What `torch.save` may name in a pickle, as records: tensors, storages, ordered dictionaries, and nothing that runs.

The names are those of torch's own `_utils` and storage classes. A few more stand for objects that training tools leave
beside the weights; they become `Inert` records without content and are never asked for anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NoReturn

from kit.errors import InvalidModel, Unsupported
from kit.tensors import BY_SAFETENSORS, MAX_DIMENSIONS

MAX_STORAGE_BYTES = 1 << 48

_STORAGES = {
    "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16", "DoubleStorage": "F64",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8", "ByteStorage": "U8",
    "BoolStorage": "BOOL", "ComplexFloatStorage": "C64", "UntypedStorage": "U8",
}  # fmt: skip
_DTYPES = {
    "float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32", "uint64": "U64", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
_FUNCTIONS = frozenset({
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor_v3"),
    ("torch._utils", "_rebuild_parameter"), ("torch._utils", "_rebuild_parameter_with_state"),
    ("collections", "OrderedDict"), ("torch", "Size"),
})  # fmt: skip
# Left beside the weights by PyTorch Lightning and by numpy scalars in its counters; also what ComfyUI lets pass.
_INERT = frozenset({
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"), ("torch", "device"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy", "dtype"),
    ("numpy.dtypes", "Float64DType"), ("_codecs", "encode"),
})  # fmt: skip


@dataclass(frozen=True)
class StorageType:
    """A storage class; `dtype` in safetensors' words."""

    dtype: str


@dataclass(frozen=True)
class DType:
    """A torch dtype; `dtype` in safetensors' words."""

    dtype: str


@dataclass(frozen=True)
class Function:
    """An allowed constructor by its full name."""

    module: str
    name: str


@dataclass(frozen=True, eq=False)
class Inert:
    """Something known and not needed: the class, or an object of it."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Bytes outside the pickle: the container's key, their element type and number."""

    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class TensorRecord:
    """A C-contiguous tensor in a storage; `first` counts elements of `dtype`."""

    storage: Storage
    dtype: str
    first: int
    shape: tuple[int, ...]


class TorchVocabulary:
    """The vocabulary of `torch.save`; everything else is `InvalidModel` (PICKLE_FORBIDDEN) naming the global.

    `storages` collects every storage that the pickle refers to, by key.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}

    def find(self, module: str, name: str) -> object:
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return StorageType(_STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return DType(_DTYPES[name])
        if (module, name) in _FUNCTIONS:
            return Function(module, name)
        if (module, name) in _INERT:
            return Inert(f"{module}.{name}")
        raise InvalidModel(
            "the file names code that a model does not need; nothing of it was run. Convert a file that you trust to"
            " .safetensors with the tool that wrote it",
            reason="PICKLE_FORBIDDEN", name=f"{module}.{name}"[:256],
        )  # fmt: skip

    def apply(self, function: object, arguments: tuple[object, ...]) -> object:
        if isinstance(function, Inert):
            return Inert(function.name)
        if not isinstance(function, Function):
            _refuse("the pickle calls something that is no function", type=type(function).__name__)
        match function.name:
            case "_rebuild_tensor_v2":
                return _tensor(arguments, 6, None)
            case "_rebuild_tensor_v3":
                return _tensor(arguments, 7, arguments[6] if len(arguments) > 6 else None)
            case "_rebuild_parameter" | "_rebuild_parameter_with_state":
                if not arguments or not isinstance(arguments[0], TensorRecord):
                    _refuse("a parameter is made of something that is no tensor")
                return arguments[0]
            case "Size":
                return arguments[0] if arguments else ()
            case _:
                return _ordered(arguments)

    def update(self, target: object, state: object) -> None:
        # A state dictionary's attributes (`_metadata`: versions of its modules) are not weights; nor is what Inert has.
        if not isinstance(target, (dict, Inert, TensorRecord)):
            _refuse("the pickle changes the state of something that has none", type=type(target).__name__)

    def persistent(self, identity: object) -> object:
        # ("storage", class, key, device, element count[, view of another storage: old files, always None])
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or identity[0] != "storage":
            _refuse("the pickle refers to something that is no storage")
        kind, key, count = identity[1], identity[2], identity[4]
        if len(identity) == 6 and identity[5] is not None:
            raise Unsupported("the file keeps views of storages, which torch < 0.4 wrote", reason="WEIGHTS_FORMAT")
        if not isinstance(kind, StorageType) or type(key) is not str or len(key) > 64:
            _refuse("a storage has no class or no key")
        if type(count) is not int or not 0 <= count <= MAX_STORAGE_BYTES:
            _refuse("a storage has no size", count=str(count)[:32])
        storage = Storage(kind.dtype, key, count)
        if self.storages.setdefault(key, storage) != storage:
            _refuse("one storage has two types or sizes", storage=key)
        return storage


def element_bytes(dtype: str) -> int:
    """Bytes of one element of a type in safetensors' words."""
    return BY_SAFETENSORS[dtype].bits // 8


def _tensor(arguments: tuple[object, ...], fewest: int, dtype: object) -> TensorRecord:
    """(storage, first element, shape, strides, requires_grad, hooks[, dtype][, metadata]) -> record."""
    if len(arguments) < fewest or not isinstance(arguments[0], Storage):
        _refuse("a tensor is made of something that is no storage")
    storage, first = arguments[0], arguments[1]
    shape, strides = _sizes(arguments[2]), _sizes(arguments[3])
    if dtype is not None and not isinstance(dtype, DType):
        _refuse("a tensor's type is no dtype")
    stored = storage.dtype if dtype is None else dtype.dtype
    if type(first) is not int or first < 0 or len(strides) != len(shape):
        _refuse("a tensor's place is no place", shape=list(shape), strides=list(strides))
    if not _contiguous(shape, strides):
        raise Unsupported(
            "a tensor is stored transposed or with gaps; save it with .contiguous() or as .safetensors",
            reason="WEIGHTS_LAYOUT", shape=list(shape), strides=list(strides),
        )  # fmt: skip
    end = (first + math.prod(shape)) * element_bytes(stored)
    room = storage.count * element_bytes(storage.dtype)
    if math.prod(shape) and end > room:
        _refuse("a tensor reaches beyond its storage", shape=list(shape), bytes=end, storage_bytes=room)
    return TensorRecord(storage, stored, first, shape)


def _sizes(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > MAX_DIMENSIONS:
        _refuse("a tensor's shape or strides are no short tuple")
    for side in value:
        if type(side) is not int or not 0 <= side <= MAX_STORAGE_BYTES:
            _refuse("a tensor's shape or strides have a value that is no size", value=str(side)[:32])
    return value


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether rows follow each other without gaps; the stride of a side of one element means nothing."""
    if 0 in shape:
        return True
    expected = 1
    for side, stride in zip(reversed(shape), reversed(strides), strict=True):
        if side != 1 and stride != expected:
            return False
        expected *= side
    return True


def _ordered(arguments: tuple[object, ...]) -> dict[object, object]:
    if not arguments:
        return {}
    pairs = arguments[0]
    if len(arguments) != 1 or not isinstance(pairs, (list, tuple)):
        _refuse("an OrderedDict is made of something that is no list of pairs")
    ordered: dict[object, object] = {}
    for pair in pairs:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], (str, int)):
            _refuse("an OrderedDict is made of something that is no list of pairs")
        ordered[pair[0]] = pair[1]
    return ordered


def _refuse(message: str, **facts: object) -> NoReturn:
    raise InvalidModel(message, reason="PICKLE_BROKEN", **facts)
