"""Points the weights of a graph at the bytes of the user's own file, where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from kit.errors import InvalidModel
from model_service.archs.spec import Part
from model_service.weights.header import TensorEntry

_STORED = {
    "F32": (TensorProto.FLOAT, 4),
    "F64": (TensorProto.DOUBLE, 8),
    "F16": (TensorProto.FLOAT16, 2),
    "BF16": (TensorProto.BFLOAT16, 2),
    "F8_E4M3": (TensorProto.FLOAT8E4M3FN, 1),
    "F8_E5M2": (TensorProto.FLOAT8E5M2, 1),
    "I64": (TensorProto.INT64, 8),
}
_SHOWN = 5


@dataclass(frozen=True)
class CopiedTensor:
    """A tensor that cannot be used where it lies (its offset is no multiple of its element size): read at opening."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class BoundModel:
    """A complete ONNX model; `model` is its bytes, the weights stay in `location` inside `folder`.

    `mapped_bytes`: weights used in place; `overlay`: names that must be given at opening; `copied`: see CopiedTensor.
    """

    model: bytes
    folder: str
    location: str
    mapped_bytes: int
    overlay: tuple[str, ...]
    copied: tuple[CopiedTensor, ...]


def bind(
    graph: bytes, part: Part, unused: Sequence[str] = (), overlay: Mapping[str, TensorEntry] | None = None
) -> BoundModel:
    """Bind every weight of `graph` to `part`'s file; `overlay` (name -> its entry) replaces some of them at opening.

    Weights stored narrower than the graph computes are widened by a Cast in the graph. `unused`: beginnings of names
    that the file may have without any use. Raises InvalidModel naming tensors that are missing, left over, mis-shaped
    or of a type that cannot be widened.
    """
    model = onnx.load_model_from_string(graph)
    weights = {one.name: one for one in model.graph.initializer if one.data_location == TensorProto.EXTERNAL}
    replaced = dict(overlay or {})
    _check_names(weights, part, unused, replaced)
    _check_tensors(weights, part, replaced)
    path = part.header.path.resolve()  # ONNX Runtime refuses links that leave the folder
    nowhere = path.stat().st_size  # behind the end: opening fails unless these tensors are given
    copied: list[CopiedTensor] = []
    narrow: dict[str, int] = {}
    mapped = 0
    for name, weight in weights.items():
        entry = replaced.get(name) or part.entries[name]
        kind, width = _STORED[entry.dtype]
        offset = entry.offset
        if name in replaced:
            offset = nowhere
        elif entry.offset % width:
            copied.append(CopiedTensor(name, entry.dtype, tuple(weight.dims), entry.offset))
            offset = nowhere
        else:
            mapped += entry.nbytes
        _point(weight, path.name, offset, entry.nbytes)
        if kind != weight.data_type:
            narrow[name] = weight.data_type
            weight.data_type = kind
    _widen(model.graph, narrow)
    return BoundModel(
        model.SerializeToString(deterministic=True), str(path.parent), path.name, mapped, tuple(replaced), tuple(copied)
    )


def _point(weight: TensorProto, location: str, offset: int, length: int) -> None:
    del weight.external_data[:]
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        weight.external_data.add(key=key, value=value)


def _check_names(
    weights: Mapping[str, TensorProto], part: Part, unused: Sequence[str], overlay: Mapping[str, TensorEntry]
) -> None:
    missing = [part.prefix + name for name in weights if name not in part.entries]
    extra = [part.prefix + name for name in part.entries if name not in weights and not name.startswith(tuple(unused))]
    strange = [name for name in overlay if name not in weights]
    if missing or extra or strange:
        raise InvalidModel(
            "the tensors of this file are not those of its architecture",
            file=part.header.path.name,
            missing=_few(missing),
            extra=_few(extra),
            unknown_in_patch=_few(strange),
        )


def _check_tensors(weights: Mapping[str, TensorProto], part: Part, overlay: Mapping[str, TensorEntry]) -> None:
    """Shapes must agree but for sides of 1 (a 1x1 convolution is also stored as a matrix), types must be known."""
    wrong = []
    for name, weight in weights.items():
        for entry in filter(None, (part.entries[name], overlay.get(name))):
            if _squeezed(entry.shape) != _squeezed(weight.dims):
                wrong.append(f"{entry.name}{list(entry.shape)} is not {list(weight.dims)}")
            stored = _STORED.get(entry.dtype)
            if stored is None or (stored[0] == TensorProto.INT64) != (weight.data_type == TensorProto.INT64):
                wrong.append(f"{entry.name} is {entry.dtype}")
    if wrong:
        raise InvalidModel(
            "tensors of this file do not fit its architecture", file=part.header.path.name, wrong=_few(wrong)
        )


def _squeezed(shape: Sequence[int]) -> list[int]:
    return [side for side in shape if side != 1]


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown


def _widen(graph: onnx.GraphProto, narrow: Mapping[str, int]) -> None:
    """Cast each weight of `narrow` (name -> type that the graph computes in).

    A table that rows are picked from is cast behind the picking: a vocabulary is far larger than a prompt.
    """
    casts: dict[str, onnx.NodeProto] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        behind = []
        for place, name in enumerate(node.input):
            if name not in narrow:
                continue
            if node.op_type == "Gather" and place == 0:
                behind.append(_cast(f"{node.output[0]}.narrow", node.output[0], narrow[name]))
                node.output[0] = behind[0].input[0]
            else:
                casts.setdefault(name, _cast(name, f"{name}.wide", narrow[name]))
                node.input[place] = f"{name}.wide"
        nodes.extend([node, *behind])
    # ONNX Runtime walks from the outputs and, among a node's inputs, takes those written last first. Casts that are
    # written first therefore run right before their use: one widened weight at a time is in memory, not all of them.
    del graph.node[:]
    graph.node.extend([*casts.values(), *nodes])


def _cast(source: str, target: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"widen_{target}", to=kind)
