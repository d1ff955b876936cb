"""From a torch module to its operator graph: `torch.export` before decomposition, so that linear stays linear."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from model_service.archs.spec import Arch, Signature, TensorSpec

_DTYPES = {"FP32": torch.float32, "INT64": torch.int64}
# Sizes of the example that is traced: distinct, so that no two dimensions are taken for one by chance.
_EXAMPLE_SIDES = (2, 24, 40, 56, 72, 88)


def build_on_meta(arch: Arch, config: Any) -> nn.Module:
    """The network with parameters that have no storage; its constants are real."""
    with torch.device("meta"):
        module = arch.build(config)
    return module.eval().requires_grad_(False)


def trace(arch: Arch, config: Any) -> ExportedProgram:
    """Operator graph of the network, with the varying dimensions of its signature symbolic."""
    module = build_on_meta(arch, config)
    _give_storage(module)
    signature = arch.tensors(config)
    sides = _example_sides(signature)
    examples = tuple(_example(spec, sides) for spec in signature.inputs)
    dynamic = tuple(
        {axis: Dim.DYNAMIC for axis, side in enumerate(spec.shape) if isinstance(side, str)}
        for spec in signature.inputs
    )
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch deprecates parts of itself while tracing; nothing for our users
        return torch.export.export(module, examples, dynamic_shapes=dynamic, strict=False)


def _give_storage(module: nn.Module) -> None:
    """Replace meta parameters by uninitialised memory: reserved, never touched, hence never resident."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None and weight.device.type == "meta":
                part._parameters[name] = nn.Parameter(torch.empty_like(weight, device="cpu"), requires_grad=False)
        for name, buffer in part._buffers.items():
            if buffer is not None and buffer.device.type == "meta":
                part._buffers[name] = torch.empty_like(buffer, device="cpu")


def _example_sides(signature: Signature) -> Mapping[str, int]:
    names = dict.fromkeys(side for spec in signature.inputs for side in spec.shape if isinstance(side, str))
    return dict(zip(names, _EXAMPLE_SIDES, strict=False))


def _example(spec: TensorSpec, sides: Mapping[str, int]) -> torch.Tensor:
    shape = [sides[side] if isinstance(side, str) else side for side in spec.shape]
    return torch.ones(shape, dtype=_DTYPES[spec.dtype])
