"""Files in the layouts of the real models, written beside their place and moved there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

UNET_PREFIX = "model.diffusion_model."
TEXT_PREFIX = "cond_stage_model.transformer."
VAE_PREFIX = "first_stage_model."


def save_atomically(value: Any, file: Path) -> None:
    """torch.save, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        torch.save(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def write_weights(tensors: Mapping[str, Tensor], file: Path, about: str, dtype: torch.dtype = torch.float16) -> None:
    """A safetensors file, floats in `dtype`; replaces an older one in one move."""
    ready = {
        name: (value.detach().to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in tensors.items()
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        # One entry only: with two, safetensors orders them anew each time and the same weights make other bytes.
        stream.write(save(ready, metadata={"about": about}))
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def prefixed(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in module.state_dict().items()}
