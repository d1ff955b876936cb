"""ATen operators in ONNX: the expensive ones, written the way ONNX Runtime's CPU kernels are fastest."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import fx

from kit.errors import Unsupported
from model_service.graphs.aten import Value, dims, operator
from model_service.graphs.emitter import MICROSOFT, Emitter
V=dict(linear='fused',gn='ln',attn='mha',silu='quick')

@operator("aten.linear.default")
def _linear(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    """x @ weight.T + bias with the weight read as the file has it, [out, in]."""
    x, weight, *bias = args
    before, after = dims(node.args[0]), dims(node)
    if len(before) == 2 or V['linear']=='gemm':
        flat = e.reshape(x, before, (math.prod(before[:-1]), before[-1])) if len(before) > 2 else x
        y= e.node("Gemm", flat, weight, *bias, transB=1)
        return y if len(before)==2 else e.reshape(y,(None,after[-1]),after)
    y = e.node("FusedMatMul", x, weight, domain=MICROSOFT, transB=1)
    return e.node("Add", y, bias[0]) if bias and bias[0] else y


@operator("aten.conv2d.default")
def _conv2d(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, weight, bias, stride, padding, dilation, groups = (*args, *(None, [1, 1], [0, 0], [1, 1], 1)[len(args) - 2 :])
    inputs = [x, weight] if bias is None else [x, weight, bias]
    return e.node(
        "Conv",
        *inputs,
        kernel_shape=[int(side) for side in dims(node.args[1])[2:]],
        strides=list(stride),
        pads=list(padding) * 2,
        dilations=list(dilation),
        group=groups,
    )


@operator("aten.group_norm.default")
def _group_norm(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, groups, weight, bias, eps = args[:5]
    shape = dims(node)
    flat = (shape[0], groups, math.prod(shape[1:]) / groups)
    per_channel = (shape[1], *([1] * (len(shape) - 2)))
    column = lambda name: e.node("Reshape", name, e.ints(*per_channel))
    if V['gn']=='in':
        x = e.node("Reshape", x, e.ints(0, groups, -1))
        x = e.node("InstanceNormalization",x,e.constant(np.ones(groups,np.float32)),e.constant(np.zeros(groups,np.float32)),epsilon=eps)
        x = e.node("Reshape", x, e.sizes(shape))
        return e.node("Add",e.node("Mul",x,column(weight)),column(bias))
    if V['gn']=='ln':
        y = e.node("Reshape", x, e.ints(0, groups, -1))
        n = e.node("Shape",y,start=2,end=3)
        ones = e.node("Expand",e.constant(np.ones(1,np.float32)),n)
        y = e.node("LayerNormalization",y,ones,epsilon=eps)
        y = e.node("Reshape", y, e.sizes(shape))
        return e.node("Add",e.node("Mul",y,column(weight)),column(bias))
    if V['gn']=='stat':
        y = e.node("Reshape", x, e.ints(0, groups, -1))
        mean = e.node("ReduceMean",y,e.ints(2),keepdims=1)
        d = e.node("Sub",y,mean)
        var = e.node("Div", e.node("ReduceSumSquare",d,e.ints(2),keepdims=1), e.node("Cast",e.node("Shape",d,start=2,end=3),to=1))
        inv = e.node("Reciprocal",e.node("Sqrt",e.node("Add",var,e.scalar(eps))))
        C=shape[1]
        w=e.node("Reshape",weight,e.ints(1,groups,C//groups)); b=e.node("Reshape",bias,e.ints(1,groups,C//groups))
        scale = e.node("Reshape",e.node("Mul",w,inv),e.ints(0,C,*([1]*(len(shape)-2))))
        return e.node("Add",e.node("Mul",e.node("Reshape",d,e.sizes(shape)),scale),e.node("Reshape",bias,e.ints(*per_channel)))


@operator("aten.layer_norm.default")
def _layer_norm(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    x, normalized, weight, bias, eps = (*args[:5], *([], None, None, 1e-5)[len(args) - 1 :])
    inputs = [name for name in (x, weight, bias) if name is not None]
    return e.node("LayerNormalization", *inputs, axis=-len(normalized), epsilon=eps)


@operator("aten.silu.default")
def _silu(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    if V['silu']=='quick' and not e.options.portable:
        return e.node("QuickGelu", args[0], domain=MICROSOFT, alpha=1.0)
    return e.node("Mul", args[0], e.node("Sigmoid", args[0]))


@operator("aten.gelu.default")
def _gelu(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node("Gelu", args[0], approximate=node.kwargs.get("approximate", "none"))


@operator("aten.upsample_nearest2d.vec")
def _upsample(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    return e.node(
        "Resize", args[0], "", "", e.sizes(dims(node)),
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )


@operator("aten.scaled_dot_product_attention.default")
def _attention(e: Emitter, node: fx.Node, args: list[Value]) -> Value:
    q, k, v = args[:3]
    B, heads, T, d = dims(node)
    causal = node.kwargs.get('is_causal', args[5] if len(args)>5 else False)
    def merged(name, n):
        y=e.node("Transpose",name,perm=[0,2,1,3])
        return e.node("Reshape",y,e.ints(0,0,-1))
    if V['attn']=='mha':
        y=e.node("MultiHeadAttention",merged(q,0),merged(k,1),merged(v,2),domain=MICROSOFT,num_heads=heads,unidirectional=int(causal))
        y=e.node("Reshape",y,e.ints(0,0,heads,-1))
        return e.node("Transpose",y,perm=[0,2,1,3])
    q=e.node("Mul",q,e.scalar(1/math.sqrt(d)))
    s=e.node("MatMul",q,e.node("Transpose",k,perm=[0,1,3,2]))
    return e.node("MatMul",e.node("Softmax",s,axis=-1),v)
