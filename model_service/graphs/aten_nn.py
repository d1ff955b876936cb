"""ATen operators in ONNX: the expensive ones, written the way ONNX Runtime's CPU kernels are fastest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto
from torch import fx

from kit.errors import Unsupported
from model_service.graphs.aten import Value, dims, operator
from model_service.graphs.emitter import MICROSOFT, Dim, Emitter

_RESHAPES = ("aten.view.default", "aten.reshape.default", "aten.unflatten.int")


@operator("aten.linear.default")
def _linear(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    """x @ weight.T + bias as one Gemm, which reads the weight as the file has it ([out, in]) and adds the bias."""
    x, weight, bias = args
    before, after = dims(node.args[0]), dims(node)
    rows = math.prod(before[:-1])
    flat = e.reshape(x, before, (rows, before[-1]))
    y = e.node("Gemm", flat, weight, *([] if bias is None else [bias]), transB=1)
    return e.reshape(y, (rows, after[-1]), after)


@operator("aten.conv2d.default")
def _conv2d(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, weight, bias, stride, padding, dilation, groups = args
    return e.node(
        "Conv",
        *(name for name in (x, weight, bias) if name is not None),
        kernel_shape=[int(side) for side in dims(node.args[1])[2:]],
        strides=list(stride),
        pads=list(padding) * 2,
        dilations=list(dilation),
        group=groups,
    )


@operator("aten.group_norm.default")
def _group_norm(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    """Layer normalisation of each group's elements, then scale and shift by channel."""
    x, groups, weight, bias, eps = args[:5]
    shape = dims(node)
    rows = e.node("Reshape", x, e.ints(0, groups, -1))
    if e.options.portable:
        rows = _normalised(e, rows, eps)
    else:  # LayerNormalization wants a scale for each element; a row of ones costs one row
        ones = e.node("ConstantOfShape", e.node("Shape", rows, start=2, end=3), value=_one())
        rows = e.node("LayerNormalization", rows, ones, epsilon=eps)
    y = e.node("Reshape", rows, e.sizes(shape))
    column = e.ints(-1, *([1] * (len(shape) - 2)))
    scaled = e.node("Mul", y, e.node("Reshape", weight, column))
    return e.node("Add", scaled, e.node("Reshape", bias, column))


def _one() -> TensorProto:
    return TensorProto(data_type=TensorProto.FLOAT, dims=[1], float_data=[1.0])


def _normalised(e: Emitter, rows: str, eps: float) -> str:
    """(x - mean) / sqrt(variance + eps) over the last axis, in operators that every engine has."""
    last = e.ints(-1)
    centred = e.node("Sub", rows, e.node("ReduceMean", rows, last))
    variance = e.node("ReduceMean", e.node("Mul", centred, centred), last)
    return e.node("Div", centred, e.node("Sqrt", e.node("Add", variance, e.scalar(eps))))


@operator("aten.layer_norm.default")
def _layer_norm(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, normalized, weight, bias, eps = args[:5]
    if weight is None:
        weight = e.constant(np.ones(normalized, dtype=np.float32))
    inputs = (x, weight) if bias is None else (x, weight, bias)
    return e.node("LayerNormalization", *inputs, axis=-len(normalized), epsilon=eps)


@operator("aten.silu.default")
def _silu(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    if e.options.portable:
        return e.node("Mul", args[0], e.node("Sigmoid", args[0]))
    return e.node("QuickGelu", args[0], domain=MICROSOFT, alpha=1.0)  # x * sigmoid(alpha * x)


@operator("aten.gelu.default")
def _gelu(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Gelu", args[0], approximate=args[1])


@operator("aten.upsample_nearest2d.vec")
def _upsample(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node(
        "Resize",
        *(args[0], "", "", e.sizes(dims(node))),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@operator("aten.scaled_dot_product_attention.default")
def _attention(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    """softmax(q k' / sqrt(d)) v on [B, heads, T, d]."""
    q, k, v, mask, dropout, causal, scale, grouped = args
    if mask is not None or dropout or grouped:
        raise Unsupported(
            "attention with a mask, dropout or grouped heads has no ONNX form here yet", reason="OPERATOR_UNKNOWN"
        )
    sides = dims(node)
    scale = 1 / math.sqrt(int(sides[-1])) if scale is None else scale
    if e.options.portable:
        return _plain_attention(e, (q, k, v), sides, scale, causal)
    merged = [_heads_merged(e, name, dims(arg)) for name, arg in zip((q, k, v), node.args[:3], strict=True)]
    fused = e.node(
        "MultiHeadAttention", *merged, domain=MICROSOFT, num_heads=sides[1], scale=scale, unidirectional=int(causal)
    )
    batch, heads, rows, width = sides
    split = e.reshape(fused, (batch, rows, heads * width), (batch, rows, heads, width))
    return e.transpose(split, (0, 2, 1, 3))


def _heads_merged(e: Emitter, name: str, sides: Sequence[Dim]) -> str:
    """[B, T, heads * d] from [B, heads, T, d]; where it was just split from that, the split disappears."""
    batch, heads, rows, width = sides
    return e.reshape(e.transpose(name, (0, 2, 1, 3)), (batch, rows, heads, width), (batch, rows, heads * width))


def _plain_attention(e: Emitter, names: tuple[str, str, str], sides: Sequence[Dim], scale: float, causal: bool) -> str:
    q, k, v = names
    scores = e.node("MatMul", e.node("Mul", q, e.scalar(scale)), e.transpose(k, (0, 1, 3, 2)))
    if causal:
        square = e.node("Expand", e.scalar(float("-inf")), e.sizes((sides[2], sides[2])))
        scores = e.node("Add", scores, e.node("Trilu", square, e.constant(np.asarray(1, dtype=np.int64)), upper=1))
    return e.node("MatMul", e.node("Softmax", scores, axis=-1), v)
