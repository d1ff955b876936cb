"""Resizing of pictures and latents by ComfyUI's method names. Imports torch: only node functions import it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

_PARALLEL = 1 - 1e-5


def resized(samples: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """`samples` [B, C, H, W] at the new size; crop "center" first cuts them to the new aspect ratio.

    Methods: nearest-exact, bilinear, area, bicubic (torch), bislerp (on the sphere of channels), lanczos (8 bit).
    """
    if crop == "center":
        samples = _cut_to_aspect(samples, width / height)
    if method == "bislerp":
        return bislerp(samples, width, height)
    if method == "lanczos":
        return lanczos(samples, width, height)
    return functional.interpolate(samples, size=(height, width), mode=method)


def _cut_to_aspect(samples: Tensor, aspect: float) -> Tensor:
    height, width = samples.shape[-2:]
    current = width / height
    left = round((width - width * (aspect / current)) / 2) if current > aspect else 0
    top = round((height - height * (current / aspect)) / 2) if current < aspect else 0
    return samples[..., top : height - top, left : width - left]


def lanczos(samples: Tensor, width: int, height: int) -> Tensor:
    """Pillow's Lanczos on 8-bit images (values truncated); channels 1, 3 or 4."""
    frames = []
    for sample in samples:
        levels = (255.0 * sample).clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()  # H W C
        picture = Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels)
        scaled = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS), dtype=np.float32) / 255.0
        frames.append(torch.from_numpy(scaled.reshape(height, width, levels.shape[-1])).movedim(-1, 0))  # C H W
    return torch.stack(frames)


def bislerp(samples: Tensor, width: int, height: int) -> Tensor:
    """Bilinear, but each pair of channel vectors is interpolated on the sphere and its length linearly."""
    across = _slerp_last_axis(samples.float(), width)
    down = _slerp_last_axis(across.transpose(-1, -2), height).transpose(-1, -2)
    return down.to(samples.dtype)


def _slerp_last_axis(samples: Tensor, size: int) -> Tensor:
    length = samples.shape[-1]
    # Pixel centres as in torch's bilinear mode without align_corners.
    position = ((torch.arange(size, dtype=torch.float32) + 0.5) * (length / size) - 0.5).clamp(0, length - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=length - 1)
    return _slerp(samples[..., low], samples[..., high], position - low)


def _slerp(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """Spherical interpolation along dim 1 (Shoemake 1985); vectors that are parallel or opposite have no such arc."""
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    unit_a = torch.where(norm_a == 0, 0.0, a / norm_a)
    unit_b = torch.where(norm_b == 0, 0.0, b / norm_b)
    cosine = (unit_a * unit_b).sum(dim=1, keepdim=True)
    angle = cosine.clamp(-1, 1).acos()
    arc = (((1 - share) * angle).sin() * unit_a + (share * angle).sin() * unit_b) / angle.sin()
    curved = arc * (norm_a * (1 - share) + norm_b * share)
    curved = torch.where(cosine > _PARALLEL, a, curved)
    return torch.where(cosine < -_PARALLEL, a * (1 - share) + b * share, curved)
