"""The .latent format: a safetensors file with `latent_tensor` and an empty `latent_format_version_0`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from kit.errors import InvalidRequest

_TENSOR, _VERSION = "latent_tensor", "latent_format_version_0"
# The first format stored latents multiplied by SD1's scale.
_FIRST_FORMAT_SCALE = 0.18215


def encode_latent(samples: Tensor, metadata: Mapping[str, str]) -> bytes:
    """File content for `samples` [B, C, h, w]."""
    return save({_TENSOR: samples.contiguous(), _VERSION: torch.empty(0)}, metadata=dict(metadata))


def decode_latent(path: Path) -> Tensor:
    """The latent of a file, float32 and unscaled. Raises InvalidRequest for a file that is none."""
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InvalidRequest(
            "this is no latent file", reason="LATENT_FILE", file=path.name, cause=str(error)
        ) from error
    if _TENSOR not in tensors:
        raise InvalidRequest("this file holds no latent", reason="LATENT_FILE", file=path.name)
    samples = tensors[_TENSOR].float()
    return samples if _VERSION in tensors else samples / _FIRST_FORMAT_SCALE
