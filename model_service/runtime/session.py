"""Opens an ONNX Runtime session on a bound model.

This file is also copied beside the thin model of Triton's Python backend: it imports nothing but the standard library,
numpy and onnxruntime.
"""

from __future__ import annotations

import json
import mmap
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[Any]

# safetensors' word -> (numpy type of the bytes, ONNX element type)
_TYPES: Mapping[str, tuple[str, int]] = {
    "F32": ("<f4", 1),
    "F64": ("<f8", 11),
    "F16": ("<f2", 10),
    "BF16": ("<u2", 16),
    "F8_E4M3": ("u1", 17),
    "F8_E5M2": ("u1", 19),
    "I64": ("<i8", 7),
}
_MAX_HEADER = 64 << 20


@dataclass(frozen=True)
class SessionRecipe:
    """All that it takes to open a servable, as plain values.

    `model_path`: the bound ONNX file; `weights_folder`: the folder its external data are in (already resolved);
    `overlay_path`: a .safetensors file whose tensors, named as the graph's, replace bound ones; `copied`: tensors to
    read from `weights_location` into memory of their own, as (name, dtype, shape, offset); `threads`: 0 = all cores;
    `mapped_bytes`: size of the weights used in place.
    """

    model_path: str
    weights_folder: str
    weights_location: str
    overlay_path: str | None = None
    copied: tuple[tuple[str, str, tuple[int, ...], int], ...] = ()
    threads: int = 0
    mapped_bytes: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> SessionRecipe:
        values = json.loads(text)
        copied = tuple((name, dtype, tuple(shape), offset) for name, dtype, shape, offset in values.pop("copied"))
        return cls(copied=copied, **values)


@dataclass(frozen=True)
class OpenSession:
    """`held_bytes`: size of the tensors that replace bound ones."""

    session: ort.InferenceSession
    held_bytes: int


def open_session(recipe: SessionRecipe, overlay: Mapping[str, tuple[str, Array]] | None = None) -> OpenSession:
    """Session on the CPU; `overlay` (name -> dtype and values) adds to the recipe's overlay file, without a copy.

    Raises OSError for unreadable files, ValueError for a broken overlay, onnxruntime's exceptions for a broken model.
    """
    options = session_options(recipe)
    tensors: dict[str, tuple[str, Array]] = {}
    keep: list[object] = []
    held = 0
    for name, dtype, shape, offset in recipe.copied:
        tensors[name] = (dtype, _read(recipe, dtype, shape, offset))
    if recipe.overlay_path is not None:
        mapped, found = read_overlay(recipe.overlay_path)
        keep.append(mapped)
        tensors.update(found)
    tensors.update(overlay or {})
    for name, (dtype, values) in tensors.items():
        value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(values, _TYPES[dtype][1])
        options.add_initializer(name, value)
        keep.extend((values, value))
        held += values.nbytes
    session = ort.InferenceSession(
        Path(recipe.model_path).read_bytes(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["ConstantFolding"],
    )
    session.replaced_weights = keep  # it uses their memory and holds no reference of its own
    return OpenSession(session, held)


def session_options(recipe: SessionRecipe) -> ort.SessionOptions:
    """Options under which weights stay where they are: no repacking, no folding of casts, no layout change."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = recipe.threads or os.cpu_count() or 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.enable_mem_pattern = False  # a plan for every input shape keeps a block for each of them
    options.add_session_config_entry("session.disable_prepacking", "1")
    # Threads that spin after a call take the cores from whoever is to receive its answer.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", recipe.weights_folder)
    options.log_severity_level = 3
    return options


def _read(recipe: SessionRecipe, dtype: str, shape: tuple[int, ...], offset: int) -> Array:
    path = Path(recipe.weights_folder) / recipe.weights_location
    count = int(np.prod(shape, dtype=np.int64))
    values = np.fromfile(path, dtype=_TYPES[dtype][0], count=count, offset=offset)
    if values.size != count:
        raise ValueError(f"{path} ends before offset {offset} + {count} elements")
    return values.reshape(shape)


def read_overlay(path: str) -> tuple[mmap.mmap, dict[str, tuple[str, Array]]]:
    """Tensors of a .safetensors file, mapped and not read: name -> dtype and values."""
    with Path(path).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(mapped[:8], "little")
    if not 0 < length <= min(_MAX_HEADER, len(mapped) - 8):
        raise ValueError(f"{path} is no safetensors file")
    header = json.loads(mapped[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        shape, begin = entry["shape"], 8 + length + entry["data_offsets"][0]
        count = int(np.prod(shape, dtype=np.int64))
        values = np.frombuffer(mapped, dtype=_TYPES[entry["dtype"]][0], count=count, offset=begin)
        tensors[name] = (entry["dtype"], values.reshape(shape))
    return mapped, tensors
