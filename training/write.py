"""Files in the layouts of the real models, written beside their place and moved there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from blake3 import blake3
from safetensors.torch import save
from torch import Tensor, nn

from model_service.catalogue.sums import NAME as SUMS

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


def write_weights(
    tensors: Mapping[str, Tensor], models: Path, name: str, about: str, dtype: torch.dtype = torch.float16
) -> None:
    """The safetensors file `name` below `models`, floats in `dtype`; replaces an older one in one move.

    It is listed in B3SUMS; whatever moment the process is killed at, that does not list it wrongly.
    """
    ready = {
        key: (value.detach().to(dtype) if value.is_floating_point() else value).contiguous()
        for key, value in tensors.items()
    }
    # One entry only: with two, safetensors orders them anew each time and the same weights make other bytes.
    content = save(ready, metadata={"about": about})
    _list(models, name, None)
    _replace(models / name, content)
    _list(models, name, str(blake3(content).hexdigest()))


def _list(models: Path, name: str, digest: str | None) -> None:
    """Puts a file's line into B3SUMS, or takes it out."""
    file = models / SUMS
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("  ")[2] != name]
    if digest is not None:
        kept.append(f"{digest}  {name}")
    _replace(file, "".join(f"{line}\n" for line in sorted(kept, key=lambda line: line.partition("  ")[2])).encode())


def _replace(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(file.name + ".partial")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(file)


def prefixed(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in module.state_dict().items()}
