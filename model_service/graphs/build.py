"""From an architecture and its configuration to an ONNX graph without weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from kit.errors import Unsupported
from model_service.archs.spec import Arch, TensorSpec
from model_service.graphs import aten_nn  # noqa: F401  # registers the writers of the expensive operators
from model_service.graphs.aten import OPERATORS, Value
from model_service.graphs.emitter import MICROSOFT, Emitter, dims_of
from model_service.graphs.options import GRAPH_VERSION, OPSET, GraphOptions
from model_service.graphs.trace import trace

_TYPES = {
    "FP32": TensorProto.FLOAT,
    "INT64": TensorProto.INT64,
    torch.float32: TensorProto.FLOAT,
    torch.int64: TensorProto.INT64,
}


def build_graph(arch: Arch, config: Any, options: GraphOptions) -> onnx.ModelProto:
    """Graph whose initializers have names (the network's own), types and shapes, and no values.

    Raises Unsupported (OPERATOR_UNKNOWN) where an operator of the network has no ONNX form here.
    """
    return write_graph(arch, config, options, trace(arch, config))


def write_graph(arch: Arch, config: Any, options: GraphOptions, program: ExportedProgram) -> onnx.ModelProto:
    """The graph of a network that is traced already."""
    signature = arch.tensors(config)
    emitter = Emitter(options)
    values: dict[fx.Node, Value] = {}
    weights = _bind_placeholders(program, emitter, values, [spec.name for spec in signature.inputs])
    results = _emit_all(program.graph, emitter, values)
    for spec, name in zip(signature.outputs, results, strict=True):
        emitter.nodes.append(helper.make_node("Identity", [name], [spec.name], name=f"output_{spec.name}"))
    nodes = emitter.used_nodes([spec.name for spec in signature.outputs])
    read = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        arch.id,
        [_value_info(spec) for spec in signature.inputs],
        [_value_info(spec) for spec in signature.outputs],
        initializer=[*weights, *(one for one in emitter.constants.values() if one.name in read)],
    )
    domains = [helper.make_opsetid("", OPSET)]
    if any(node.domain == MICROSOFT for node in nodes):
        domains.append(helper.make_opsetid(MICROSOFT, 1))
    return helper.make_model(
        graph, opset_imports=domains, ir_version=10, producer_name="heliograph", model_version=GRAPH_VERSION
    )


def _value_info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, _TYPES[spec.dtype], list(spec.shape))


def _weight(name: str, tensor: torch.Tensor) -> TensorProto:
    weight = TensorProto(name=name, data_type=_TYPES[tensor.dtype], dims=list(tensor.shape))
    weight.data_location = TensorProto.EXTERNAL
    return weight


def _bind_placeholders(
    program: ExportedProgram, emitter: Emitter, values: dict[fx.Node, Value], input_names: list[str]
) -> list[TensorProto]:
    """Give every placeholder its ONNX name; returns the weights (what the state dict holds)."""
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    names = iter(input_names)
    weights = []
    for spec in program.graph_signature.input_specs:
        node = placeholders[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            values[node] = next(names)
            emitter.carries(values[node], dims_of(node.meta["val"].shape))
        elif spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent):
            assert spec.target is not None
            values[node] = spec.target
            weights.append(_weight(spec.target, node.meta["val"]))
        else:
            constant = program.constants[str(spec.target)]
            assert isinstance(constant, torch.Tensor)
            values[node] = emitter.constant(np.asarray(constant.detach()))
    return weights


def _emit_all(graph: fx.Graph, emitter: Emitter, values: dict[fx.Node, Value]) -> list[str]:
    """Write every operator in order; returns the names of the network's outputs."""
    for node in graph.nodes:
        if node.op == "output":
            return [values[result] for result in node.args[0]]
        if node.op != "call_function" or not node.users:
            continue
        if str(node.target).startswith("<built-in function getitem"):
            values[node] = values[node.args[0]][node.args[1]]
            continue
        if isinstance(node.meta.get("val"), torch.SymInt | int):
            continue  # sizes are found again through the tensors that have them
        write = OPERATORS.get(str(node.target))
        if write is None:
            raise Unsupported(
                "no ONNX form is known for an operator of this network; add one to model_service/graphs/aten.py",
                reason="OPERATOR_UNKNOWN",
                operator=node.target,
            )
        values[node] = write(emitter, node, _arguments(node, values))
        if isinstance(values[node], str):
            emitter.carries(values[node], dims_of(node.meta["val"].shape))
    raise AssertionError("a traced graph ends with its output")


def _arguments(node: fx.Node, values: dict[fx.Node, Value]) -> list[Value]:
    """The operator's arguments in the order of its schema, defaults filled in and tensors as ONNX names."""
    assert isinstance(node.target, torch._ops.OpOverload)
    complete = []
    for place, argument in enumerate(node.target._schema.arguments):
        if place < len(node.args):
            value: Value = node.args[place]
        else:
            value = node.kwargs.get(argument.name, argument.default_value)
        complete.append(fx.node.map_arg(value, lambda one: values.get(one, one)))
    return complete
