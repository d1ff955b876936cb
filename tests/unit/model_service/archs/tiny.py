"""Small networks of every architecture with random weights, written as the files that users have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from model_service.archs.blocks.kl_vae_keys import VaeConfig
from model_service.archs.clip_l import ClipConfig
from model_service.archs.registry import arch
from model_service.archs.sd15_unet import Level, UNetConfig
from model_service.graphs.build import write_graph
from model_service.graphs.options import GraphOptions
from model_service.graphs.trace import build_on_meta, trace
from model_service.weights.header import Header, TensorEntry

torch.set_num_threads(1)

UNET = UNetConfig(32, 4, 4, 24, (Level(32, (0,), (0, 1)), Level(64, (1,), (0, 0))), 1)
CONFIGS: Mapping[str, Any] = {
    "sd15_unet": UNET,
    "clip_l": ClipConfig(width=64, layers=3, mlp_width=96, vocabulary=50, positions=77),
    "kl_vae_decoder": VaeConfig(3, 4, 4, (32, 64), 1),
    "kl_vae_encoder": VaeConfig(3, 4, 4, (32, 64), 1),
}
PREFIXES = {
    "sd15_unet": "model.diffusion_model.",
    "clip_l": "cond_stage_model.transformer.",
    "kl_vae_decoder": "first_stage_model.",
    "kl_vae_encoder": "first_stage_model.",
}
_WORDS = {
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.int32: "I32",
    torch.float8_e4m3fn: "F8_E4M3",
}


@dataclass(frozen=True)
class Tensors:
    """Names and tensors of a file that is to be written."""

    values: Mapping[str, torch.Tensor]

    def under(self, prefix: str) -> Tensors:
        return Tensors({prefix + name: value for name, value in self.values.items()})

    def to(self, dtype: torch.dtype) -> Tensors:
        return Tensors({name: value.to(dtype) for name, value in self.values.items()})

    def __or__(self, other: Tensors) -> Tensors:
        return Tensors({**self.values, **other.values})

    def without(self, *names: str) -> Tensors:
        return Tensors({name: value for name, value in self.values.items() if name not in names})

    def write(self, path: Path, shift: int = 0) -> Header:
        """Write as .safetensors (data start `shift` bytes behind a multiple of 8) and return its header."""
        entries, offset = {}, 0
        for name, value in self.values.items():
            nbytes = value.numel() * value.element_size()
            entries[name] = {
                "dtype": _WORDS[value.dtype],
                "shape": list(value.shape),
                "data_offsets": [offset, offset + nbytes],
            }
            offset += nbytes
        head = json.dumps(entries).encode()
        head += b" " * (-len(head) % 8 + shift)
        with path.open("wb") as file:
            file.write(len(head).to_bytes(8, "little") + head)
            for value in self.values.values():
                file.write(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return self.header(path, 8 + len(head))

    def header(self, path: Path = Path("none.safetensors"), start: int = 8) -> Header:
        tensors = {}
        for name, value in self.values.items():
            nbytes = value.numel() * value.element_size()
            tensors[name] = TensorEntry(name, _WORDS[value.dtype], tuple(value.shape), start, nbytes)
            start += nbytes
        return Header(path, tensors, {})


def described(arch_id: str, config: Any) -> Tensors:
    """The tensors of a network without values."""
    return Tensors(build_on_meta(arch(arch_id), config).state_dict())


def network(arch_id: str, config: Any | None = None, seed: int = 0) -> nn.Module:
    """The network with random weights that keep activations near one."""
    module = build_on_meta(arch(arch_id), CONFIGS[arch_id] if config is None else config)
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, weight in module.state_dict().items():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.dim() > 1:
            values[name] = noise / max(1, weight[0].numel()) ** 0.5
        else:
            values[name] = 0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
    module.load_state_dict(values, strict=True, assign=True)
    return module.requires_grad_(False)


def tensors(module: nn.Module) -> Tensors:
    return Tensors(module.state_dict())


@cache
def _traced(arch_id: str) -> ExportedProgram:
    return trace(arch(arch_id), CONFIGS[arch_id])


@cache
def graph(arch_id: str, portable: bool = False) -> bytes:
    """Graph of the small network; traced once for all tests."""
    options = GraphOptions(portable=portable)
    model = write_graph(arch(arch_id), CONFIGS[arch_id], options, _traced(arch_id))
    return model.SerializeToString(deterministic=True)


def inputs(arch_id: str, seed: int = 1, **sides: int) -> dict[str, np.ndarray]:
    """Random inputs of the small network; `sides` gives the varying ones (batch, height ...)."""
    rng = np.random.default_rng(seed)
    config = CONFIGS[arch_id]
    feeds = {}
    for spec in arch(arch_id).tensors(config).inputs:
        shape = [sides[side] if isinstance(side, str) else side for side in spec.shape]
        if spec.name == "tokens":
            feeds[spec.name] = rng.integers(0, config.vocabulary - 1, shape)
        elif spec.name == "layer":
            feeds[spec.name] = np.asarray([config.layers])
        elif spec.name == "timesteps":
            feeds[spec.name] = rng.uniform(0, 999, shape).astype(np.float32)
        elif spec.name == "embeds_mask":
            feeds[spec.name] = (rng.random(shape) > 0.8).astype(np.float32)
        else:
            feeds[spec.name] = rng.standard_normal(shape, dtype=np.float32)
    return feeds


def reference(module: nn.Module, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What torch answers."""
    results = module(*(torch.from_numpy(value) for value in feeds.values()))
    return [one.numpy() for one in (results if isinstance(results, tuple) else (results,))]


def relative_error(given: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(given - wanted) / np.linalg.norm(wanted))
