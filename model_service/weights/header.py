"""What a model file's header says: names, types, shapes and where the bytes lie. Nothing here reads weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file: C-contiguous, little-endian bytes.

    `dtype` in safetensors' words ("F32", "F16", "BF16", "I64" ...), `offset` absolute bytes in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """The tensors of one file by name, and the file's own metadata."""

    path: Path
    tensors: Mapping[str, TensorEntry]
    metadata: Mapping[str, str]
