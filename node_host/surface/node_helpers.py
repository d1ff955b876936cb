"""node_helpers: small things that node classes share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import ImageFile, UnidentifiedImageError


def conditioning_set_values(
    conditioning: Any, values: Mapping[str, Any] | None = None, append: bool = False
) -> list[Any]:
    """The same entries with these options set, or appended to what was there."""
    made = []
    for tensor, options in conditioning:
        changed = dict(options)
        for name, value in (values or {}).items():
            changed[name] = [*changed[name], *value] if append and changed.get(name) is not None else value
        made.append([tensor, changed])
    return made


def pillow(function: Callable[..., Any], arg: Any) -> Any:
    """Calls it; a truncated picture is read as far as it goes."""
    try:
        return function(arg)
    except (OSError, UnidentifiedImageError, ValueError):
        before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, True
        try:
            return function(arg)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = before


def hasher() -> Callable[..., Any]:
    """For contents of files."""
    return hashlib.sha256


def string_to_torch_dtype(string: str) -> torch.dtype | None:
    """ "fp32", "fp16" and "bf16"."""
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}.get(string)


def image_alpha_fix(destination: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both with the same number of channels: an opaque alpha is added, or cut off."""
    if destination.shape[-1] < source.shape[-1]:
        source = source[..., : destination.shape[-1]]
    elif destination.shape[-1] > source.shape[-1]:
        source = torch.nn.functional.pad(source, (0, 1), value=1.0)
    return destination, source
