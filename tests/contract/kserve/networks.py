"""Small ONNX models for servers under test, and an engine for data types that no architecture of ours uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from model_service.archs.spec import Signature, TensorSpec
from model_service.runtime.engine import Cancellation
from model_service.runtime.session import SessionRecipe, open_session

ONNX_TYPES = {
    "FP32": TensorProto.FLOAT,
    "FP16": TensorProto.FLOAT16,
    "FP64": TensorProto.DOUBLE,
    "INT64": TensorProto.INT64,
    "INT32": TensorProto.INT32,
    "INT8": TensorProto.INT8,
    "UINT8": TensorProto.UINT8,
    "BOOL": TensorProto.BOOL,
}
PLAIN_TYPES = tuple(ONNX_TYPES)


@dataclass(frozen=True)
class Network:
    """A model on disk, as a server gets it."""

    name: str
    signature: Signature
    recipe: SessionRecipe
    plain: bool = False


def _written(
    folder: Path,
    name: str,
    nodes: Sequence[onnx.NodeProto],
    signature: Signature,
    plain: bool = False,
    **constants: Any,
) -> Network:
    graph = helper.make_graph(
        nodes,
        name,
        [_info(spec) for spec in signature.inputs],
        [_info(spec) for spec in signature.outputs],
        initializer=[onnx.numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    recipe = SessionRecipe(str(path), str(folder), "", threads=1)
    return Network(name, signature, recipe, plain)


def _info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, ONNX_TYPES[spec.dtype], list(spec.shape))


def affine(folder: Path, name: str = "affine") -> Network:
    """out = 2 x + ids, sum = x + x; ids counts for each batch item."""
    nodes = [
        helper.make_node("Add", ["x", "x"], ["sum"]),
        helper.make_node("Cast", ["ids"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["wide", "column"], ["tall"]),
        helper.make_node("Add", ["sum", "tall"], ["out"]),
    ]
    image = ("batch", 4, "height", "width")
    signature = Signature(
        (TensorSpec("x", "FP32", image), TensorSpec("ids", "INT64", ("batch",))),
        (TensorSpec("out", "FP32", image), TensorSpec("sum", "FP32", image)),
    )
    return _written(folder, name, nodes, signature, column=np.array([-1, 1, 1, 1]))


def slow(folder: Path, name: str = "slow") -> Network:
    """Goes `n` times round a loop: as long a call as a test wants."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["carried", "half"], ["halved"]),
            helper.make_node("Add", ["halved", "x"], ["next"]),
            helper.make_node("Identity", ["goes_on"], ["still"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, ["side", "side"]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, ["side", "side"]),
        ],
    )
    nodes = [
        helper.make_node("Squeeze", ["n"], ["count"]),
        helper.make_node("Loop", ["count", "yes", "x"], ["out"], body=body),
    ]
    square = ("side", "side")
    signature = Signature(
        (TensorSpec("n", "INT64", (1,)), TensorSpec("x", "FP32", square)), (TensorSpec("out", "FP32", square),)
    )
    return _written(folder, name, nodes, signature, yes=np.array(True), half=np.array(0.5, np.float32))


def same(folder: Path, datatype: str) -> Network:
    """out = x, of any shape of rank 2 and of one data type."""
    sides = ("rows", "columns")
    signature = Signature((TensorSpec("x", datatype, sides),), (TensorSpec("out", datatype, sides),))
    name = f"same-{datatype.lower()}"
    return _written(folder, name, [helper.make_node("Identity", ["x"], ["out"])], signature, plain=True)


class PlainModel:
    """ONNX Runtime without the checks of our engine, for any data type that it takes."""

    def __init__(self, recipe: SessionRecipe) -> None:
        self._opened = open_session(recipe)
        self.memory_bytes, self.mapped_bytes = 1, 0

    def infer(
        self,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        cancel: Cancellation | None = None,
    ) -> dict[str, np.ndarray]:
        names = list(outputs or ())
        return dict(zip(names, self._opened.session.run(names, dict(inputs)), strict=True))

    def close(self) -> None:
        pass
