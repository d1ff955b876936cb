"""Writes ONNX nodes one by one, and knows which tensor carries which symbolic dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import onnx
import sympy  # type: ignore[import-untyped]  # it has no stubs; torch brings it
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kit.errors import Unsupported
from model_service.graphs.options import GraphOptions

MICROSOFT = "com.microsoft"
Dim: TypeAlias = int | sympy.Expr


def dims_of(shape: Sequence[Any]) -> tuple[Dim, ...]:
    """Shape of a traced tensor with each side as an int or as the sympy expression behind its symbol."""
    return tuple(side if isinstance(side, int) else _expression(side) for side in shape)


def _expression(side: Any) -> Dim:
    expression = side.node.expr
    return int(expression) if expression.is_number else expression


class Emitter:
    """A growing ONNX graph: `node` appends an operator and returns the name of its (first) output."""

    def __init__(self, options: GraphOptions) -> None:
        self.options = options
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], TensorProto] = {}
        self._sides: dict[sympy.Expr, tuple[str, int]] = {}
        self._side_values: dict[sympy.Expr, str] = {}
        self._sizes: dict[tuple[Dim, ...], str] = {}
        self._reshaped: dict[str, tuple[str, tuple[Dim, ...]]] = {}
        self._transposed: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._count = 0

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        return self.split(op, *inputs, outputs=1, domain=domain, **attributes)[0]

    def split(self, op: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any) -> list[str]:
        """Append an operator with several outputs and return their names."""
        names = [f"v{self._count + number}" for number in range(outputs)]
        self._count += outputs
        self.nodes.append(
            helper.make_node(op, list(inputs), names, name=f"{op}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return names

    def constant(self, values: NDArray[Any]) -> str:
        """Name of a constant tensor with these values; equal constants are written once."""
        array = np.ascontiguousarray(values) if values.ndim else np.asarray(values)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"const_{len(self.constants)}")
        return str(self.constants[key].name)

    def ints(self, *values: int) -> str:
        return self.constant(np.asarray(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(np.asarray(value, dtype=np.float32))

    def carries(self, name: str, dims: Sequence[Dim]) -> None:
        """Remember that the tensor `name` has these sides, so that a later reshape can ask for them."""
        for axis, side in enumerate(dims):
            if not isinstance(side, int):
                self._sides.setdefault(side, (name, axis))

    def side(self, side: Dim) -> str:
        """Name of an INT64 tensor of shape [1] that holds this dimension at run time."""
        if isinstance(side, int) or side.is_number:
            return self.ints(int(side))
        if side not in self._side_values:
            self._side_values[side] = self._computed(side)
        return self._side_values[side]

    def _computed(self, side: sympy.Expr) -> str:
        if side in self._sides:
            name, axis = self._sides[side]
            return self.node("Shape", name, start=axis, end=axis + 1)
        if isinstance(side, sympy.Add | sympy.Mul):
            op = "Add" if isinstance(side, sympy.Add) else "Mul"
            first, *rest = (self.side(term) for term in side.args)
            for term in rest:
                first = self.node(op, first, term)
            return first
        if type(side).__name__ in ("FloorDiv", "CleanDiv"):  # sides are never negative: truncation is floor
            return self.node("Div", *(self.side(term) for term in side.args))
        raise Unsupported("a dimension of this network cannot be written in the graph", dimension=side)

    def sizes(self, dims: Sequence[Dim]) -> str:
        """Name of an INT64 tensor that holds all of these dimensions."""
        if all(isinstance(side, int) for side in dims):
            return self.ints(*(int(side) for side in dims))
        key = tuple(dims)
        if key not in self._sizes:
            self._sizes[key] = self.node("Concat", *(self.side(side) for side in dims), axis=0)
        return self._sizes[key]

    def reshape(self, x: str, before: Sequence[Dim], after: Sequence[Dim]) -> str:
        """Reshape; a chain of reshapes becomes one, or none where it leads back to where it began."""
        x, before = self._reshaped.get(x, (x, tuple(before)))
        if tuple(before) == tuple(after):
            return x
        target = [
            side if isinstance(side, int) else 0 if axis < len(before) and before[axis] == side else None
            for axis, side in enumerate(after)
        ]
        if target.count(None) > 1:
            shape = self.sizes(after)
        else:  # copied sides and one that is inferred spare the arithmetic
            shape = self.ints(*(-1 if side is None else side for side in target))
        y = self.node("Reshape", x, shape)
        self._reshaped[y] = (x, tuple(before))
        return y

    def transpose(self, x: str, order: Sequence[int]) -> str:
        """Reorder the axes; a transposition that undoes the one before gives back what was there."""
        source, first = self._transposed.get(x, (x, tuple(range(len(order)))))
        combined = tuple(first[axis] for axis in order)
        if combined == tuple(range(len(order))):
            return source
        y = self.node("Transpose", source, perm=combined)
        self._transposed[y] = (source, combined)
        return y

    def used_nodes(self, outputs: Sequence[str]) -> list[onnx.NodeProto]:
        """The nodes that `outputs` depend on, in order."""
        needed = set(outputs)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                needed.update(node.input)
                kept.append(node)
        return kept[::-1]
