"""ATen operators in ONNX: arithmetic, shapes and indexing. One small function per operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto
from torch import fx

from kit.errors import Unsupported
from model_service.graphs.emitter import Dim, Emitter, dims_of

Value = Any  # name of a tensor, a list of such names, or a plain number
# Writes one operator; its arguments come complete and in the order of the operator's schema, defaults filled in.
Operator = Callable[[Emitter, fx.Node, list[Value]], Value]
OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register the writer of these ATen overloads; each is written by exactly one function."""

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"{name} is registered twice")
            OPERATORS[name] = function
        return function

    return register


def dims(node: Any) -> tuple[Dim, ...]:
    """Sides of a traced tensor."""
    return dims_of(node.meta["val"].shape)


def operand(e: Emitter, value: Value, like: fx.Node) -> str:
    """A tensor's name; a plain number becomes a constant of the result's type."""
    if isinstance(value, str):
        return value
    dtype = np.float32 if like.meta["val"].dtype.is_floating_point else np.int64
    return e.constant(np.asarray(value, dtype=dtype))


def _binary(op: str) -> Operator:
    def write(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
        first, second, *alpha = args  # alpha (add and sub only) multiplies the second operand
        second = operand(e, second, node)
        if alpha and alpha[0] != 1:
            second = e.node("Mul", second, operand(e, alpha[0], node))
        return e.node(op, operand(e, first, node), second)

    return write


def _unary(op: str) -> Operator:
    return lambda e, node, args: e.node(op, args[0])


for _name, _op in {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}.items():
    operator(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_binary(_op))
for _name in ("cos", "sin", "exp", "sigmoid", "tanh", "relu", "sqrt"):
    operator(f"aten.{_name}.default")(_unary(_name.capitalize()))


@operator("aten.transpose.int")
def _transpose(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    rank = len(dims(node))
    order = list(range(rank))
    first, second = args[1] % rank, args[2] % rank
    order[first], order[second] = order[second], order[first]
    return e.transpose(args[0], order)


@operator("aten.permute.default")
def _permute(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.transpose(args[0], [axis % len(args[1]) for axis in args[1]])


@operator("aten.reshape.default", "aten.view.default", "aten.unflatten.int", "aten.flatten.using_ints")
def _reshape(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.reshape(args[0], dims(node.args[0]), dims(node))


@operator("aten.unsqueeze.default", "aten.squeeze.dim")
def _one_side(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    rank = max(len(dims(node)), len(dims(node.args[0])))
    op = "Unsqueeze" if len(dims(node)) == rank else "Squeeze"
    return e.node(op, args[0], e.ints(args[1] % rank))


@operator("aten.slice.Tensor")
def _slice(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, axis, start, end, step = args
    if dims(node) == dims(node.args[0]):
        return x
    limit = e.side(dims(node.args[0])[axis]) if end is None else e.ints(min(end, 2**63 - 1))
    return e.node("Slice", x, e.ints(start or 0), limit, e.ints(axis), e.ints(step))


@operator("aten.chunk.default")
def _chunk(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    pieces = len(node.meta["val"])
    return e.split("Split", args[0], outputs=pieces, axis=args[2], num_outputs=pieces)


@operator("aten.cat.default")
def _cat(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Concat", *args[0], axis=args[1])


@operator("aten.stack.default")
def _stack(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    axis = args[1] % len(dims(node))
    return e.node("Concat", *(e.node("Unsqueeze", part, e.ints(axis)) for part in args[0]), axis=axis)


@operator("aten.index_select.default")
def _index_select(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Gather", args[0], args[2], axis=args[1])


@operator("aten.gather.default")
def _gather(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("GatherElements", args[0], args[2], axis=args[1])


@operator("aten.expand.default")
def _expand(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Expand", args[0], e.sizes(dims(node)))


@operator("aten.embedding.default")
def _embedding(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Gather", args[0], args[1], axis=0)


@operator("aten.where.self")
def _where(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Where", args[0], operand(e, args[1], node), operand(e, args[2], node))


@operator("aten.eq.Scalar", "aten.gt.Scalar")
def _compare(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    op = "Equal" if str(node.target) == "aten.eq.Scalar" else "Greater"
    return e.node(op, args[0], operand(e, args[1], node.args[0]))  # type: ignore[arg-type]  # an fx.Node by schema


@operator("aten.argmax.default")
def _argmax(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("ArgMax", args[0], axis=args[1], keepdims=int(args[2]))


@operator("aten.to.dtype", "aten._to_copy.default")
def _to(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    before, after = node.args[0].meta["val"].dtype, node.meta["val"].dtype  # type: ignore[union-attr]  # as above
    onnx_type = {"torch.float32": TensorProto.FLOAT, "torch.int64": TensorProto.INT64, "torch.int32": TensorProto.INT32}
    return args[0] if before == after else e.node("Cast", args[0], to=onnx_type[str(after)])


@operator("aten.pad.default")
def _pad(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, sides, mode, value = args
    if mode != "constant" or value:
        raise Unsupported("only padding with zeros can be written in a graph", mode=mode, value=value)
    pairs = [(sides[place], sides[place + 1]) for place in range(0, len(sides), 2)][::-1]
    axes = range(len(dims(node)) - len(pairs), len(dims(node)))
    pads = e.ints(*(pair[0] for pair in pairs), *(pair[1] for pair in pairs))
    return e.node("Pad", x, pads, "", e.ints(*axes), mode="constant")


@operator("aten.dropout.default", "aten.contiguous.default", "aten.clone.default")
def _same(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return args[0]
