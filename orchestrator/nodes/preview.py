"""Quick previews: a linear map from SD1 latents to colours, as JPEG. Imports torch: only node functions import it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from orchestrator.ports import PreviewImage

_LARGEST: Final = 512
_UPSCALE: Final = 8
_QUALITY: Final = 95
"""Longest side in pixels, the factor from latent cells to pixels, and JPEG quality."""

# Latent channels (scaled) to red, green, blue in -1..1. A map of our own that keeps brightness (channels 0, 1 and the
# inverse of 3) and the two colour axes (2, and 0 against 1) of SD1's latents; `fit_preview` fits one to a real VAE.
SD1_TO_RGB: Final = (
    (0.30, 0.22, 0.26),
    (0.24, 0.36, 0.22),
    (-0.22, 0.12, 0.20),
    (-0.20, -0.24, -0.46),
)


def preview_of(latents: Tensor, settings: Mapping[str, object]) -> PreviewImage | None:
    """The first of `latents` [B, 4, h, w] (scaled) at eight times its size, at most 512 pixels; None: not wanted.

    `settings["previews"]` False switches previews off. Latents with other channels have no map and no preview.
    """
    if settings.get("previews", True) is False or latents.shape[1] != len(SD1_TO_RGB):
        return None
    colours = torch.einsum("chw,cr->hwr", latents[0].float(), torch.tensor(SD1_TO_RGB))
    levels = colours.add_(1.0).mul_(127.5).clamp_(0, 255).nan_to_num_(0.0).to(torch.uint8)
    picture = Image.fromarray(levels.numpy())
    factor = min(_UPSCALE, _LARGEST / max(picture.size))
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    content = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(content, "JPEG", quality=_QUALITY)
    return PreviewImage("image/jpeg", content.getvalue())
