"""Model files by content: which format a file has, its header, and its tensors as numpy arrays."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.errors import InvalidModel, NotFound, Unsupported
from kit.tensors import stored_type
from model_service.weights.file_window import FileWindow, open_window
from model_service.weights.header import Header, TensorEntry
from model_service.weights.pickle import LEGACY_START, read_torch_legacy, read_torch_zip
from model_service.weights.safetensors import LENGTH_BYTES, looks_like_safetensors, read_safetensors
from model_service.weights.zip_members import looks_like_zip

Array = npt.NDArray[Any]

SMALL_TENSOR_BYTES = 16 << 20
_START_BYTES = 64

# First bytes that say what a file is instead of weights, and what to tell about it.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "this is a Git LFS pointer, the model itself was not downloaded"),
    (b"<", "this is a web page or XML, no model: the download failed"),
    (b"{", "this is JSON, no model"),
    (b"ustar", "this is a tar archive, no model"),
)


def read_header(path: Path) -> Header:
    """The header of a model file of any known format, recognised by content; no weights are read.

    Raises `NotFound` (WEIGHTS_NOT_FOUND), `InvalidModel` (WEIGHTS_*, PICKLE_*, ZIP_*) and `Unsupported`
    (WEIGHTS_FORMAT, WEIGHTS_LAYOUT); each carries the file's name.
    """
    with open_window(path) as window:
        try:
            return _reader(window)(window)
        except (InvalidModel, Unsupported) as error:
            error.facts.setdefault("file", path.name)
            raise


def _reader(window: FileWindow) -> Callable[[FileWindow], Header]:
    start = window.read(0, min(window.size, _START_BYTES))
    if looks_like_zip(start):
        return read_torch_zip
    if start.startswith(LEGACY_START):
        return read_torch_legacy
    if looks_like_safetensors(start):
        return read_safetensors
    for begin, message in _STRANGERS:
        if start.lstrip().startswith(begin):
            raise InvalidModel(message, reason="WEIGHTS_FORMAT")
    if start.startswith(b"GGUF"):
        raise Unsupported("GGUF files are not supported yet; use a .safetensors file", reason="WEIGHTS_FORMAT")
    if window.size <= LENGTH_BYTES:
        raise InvalidModel("the file is too short for a model", reason="WEIGHTS_TRUNCATED", file_bytes=window.size)
    if start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{":
        return read_safetensors  # with an incredible length, which it names
    # A bare pickle (Python's own or another tool's): interpreting it names what it asks for, and refuses.
    if start[:1] == b"\x80":
        return read_torch_legacy
    raise InvalidModel("this is no model file of a known format", reason="WEIGHTS_FORMAT", start=start[:16].hex())


class TensorFile:
    """The tensors of one file, mapped: arrays share the file's pages, are read-only and keep the mapping alive."""

    def __init__(self, header: Header) -> None:
        self._header = header
        with open_window(header.path) as window:
            self._map = mmap.mmap(window.descriptor, 0, access=mmap.ACCESS_READ)

    def __getitem__(self, name: str) -> Array:
        """The tensor `name`; `NotFound` (TENSOR_NOT_FOUND), or `InvalidModel` where the file became shorter."""
        entry = self._header.tensors.get(name)
        if entry is None:
            raise NotFound(
                "the file has no such tensor", reason="TENSOR_NOT_FOUND", file=self._header.path.name, tensor=name
            )
        return self.at(entry)

    def at(self, entry: TensorEntry) -> Array:
        """The tensor at an entry's place, whatever name it goes by."""
        dtype = stored_type(entry.dtype)
        if entry.offset + entry.nbytes > len(self._map):
            raise InvalidModel(
                "the file became shorter since its header was read",
                reason="WEIGHTS_TRUNCATED", file=self._header.path.name, tensor=entry.name,
            )  # fmt: skip
        if not entry.nbytes:
            return np.empty(entry.shape, dtype)
        octets: Array = np.frombuffer(self._map, np.uint8, entry.nbytes, entry.offset)
        return octets.view(dtype).reshape(entry.shape)


def read_tensor(header: Header, name: str) -> Array:
    """One tensor, mapped from the file (read-only; bfloat16 and 8-bit floats as ml_dtypes' types).

    Raises `NotFound` (TENSOR_NOT_FOUND), `Unsupported` (WEIGHTS_DTYPE) for packed types, `InvalidModel` for a file
    that became shorter.
    """
    return TensorFile(header)[name]


def read_all_small(header: Header, names: Iterable[str] | None = None) -> dict[str, Array]:
    """Copies of the tensors (all, or those named) of a small file, such as an embedding.

    Raises as `read_tensor`, and `InvalidModel` (WEIGHTS_TOO_LARGE) where together they exceed 16 MiB.
    """
    wanted = list(header.tensors) if names is None else list(names)
    total = sum(header.tensors[name].nbytes for name in wanted if name in header.tensors)
    if total > SMALL_TENSOR_BYTES:
        raise InvalidModel(
            "the file is larger than any of its kind",
            reason="WEIGHTS_TOO_LARGE", file=header.path.name, bytes=total, limit=SMALL_TENSOR_BYTES,
        )  # fmt: skip
    file = TensorFile(header)
    return {name: np.array(file[name]) for name in wanted}
