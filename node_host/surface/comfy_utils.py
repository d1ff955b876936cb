"""comfy.utils: progress, scaling and small tensor work."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from node_host.nodes import Preview
from node_host.surface import running
from node_host.surface.missing import NotGiven

PROGRESS_BAR_ENABLED = True
PROGRESS_BAR_HOOK: Callable[..., Any] | None = None
_MAX_PREVIEW_SIDE = 4096


def set_progress_bar_enabled(enabled: bool) -> None:
    """Of packs' own bars on a terminal; there is none here."""
    global PROGRESS_BAR_ENABLED
    PROGRESS_BAR_ENABLED = enabled


def set_progress_bar_global_hook(function: Callable[..., Any]) -> None:
    """Called as well, as (value, total, preview, node_id=...)."""
    global PROGRESS_BAR_HOOK
    PROGRESS_BAR_HOOK = function


class ProgressBar:
    """Told to clients as the running node's progress; raises InterruptProcessingException once it is cancelled."""

    def __init__(self, total: float, node_id: Any = None) -> None:
        self.total: float = total
        self.current: float = 0
        self.hook = PROGRESS_BAR_HOOK
        self.node_id = node_id

    def update_absolute(self, value: float, total: float | None = None, preview: Any = None) -> None:
        """`preview`: (format, PIL image, longest side or None)."""
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if self.hook is not None:
            self.hook(self.current, self.total, preview, node_id=self.node_id)
        running.progress(float(self.current), float(self.total), as_preview(preview))

    def update(self, value: float) -> None:
        """So much more is done."""
        self.update_absolute(self.current + value)


def as_preview(preview: Any) -> Preview | None:
    """An encoded picture of (format, PIL image, longest side); None: there is none, or it is something else."""
    if isinstance(preview, Image.Image):
        preview = ("JPEG", preview, None)
    if not (isinstance(preview, (tuple, list)) and len(preview) >= 2 and isinstance(preview[1], Image.Image)):
        return None
    image, side = preview[1], (preview[2] if len(preview) > 2 else None) or _MAX_PREVIEW_SIDE
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    png = str(preview[0]).upper() == "PNG"
    out = io.BytesIO()
    (image if png else image.convert("RGB")).save(out, "PNG" if png else "JPEG", **({} if png else {"quality": 95}))
    return Preview("image/png" if png else "image/jpeg", out.getvalue())


def common_upscale(samples: torch.Tensor, width: int, height: int, upscale_method: str, crop: str) -> torch.Tensor:
    """[B, C, H, W] (or [B, C, T, H, W]) at another size; crop "center" keeps the aspect ratio by cutting sides."""
    if samples.ndim > 4:  # frames as a batch
        batch, channels, frames = samples.shape[:3]
        flat = samples.movedim(2, 1).reshape(-1, channels, *samples.shape[-2:])
        done = common_upscale(flat, width, height, upscale_method, crop)
        return done.reshape(batch, frames, channels, *done.shape[-2:]).movedim(1, 2)  # B C T H W
    if crop == "center":
        samples = _centre(samples, width / height)
    if upscale_method == "lanczos":
        return lanczos(samples, width, height)
    if upscale_method == "bislerp":
        raise NotGiven("comfy.utils.bislerp")
    return torch.nn.functional.interpolate(samples, size=(height, width), mode=upscale_method)


def _centre(samples: torch.Tensor, aspect: float) -> torch.Tensor:
    height, width = samples.shape[-2:]
    x = round((width - height * aspect) / 2) if width / height > aspect else 0
    y = round((height - width / aspect) / 2) if width / height < aspect else 0
    return samples.narrow(-2, y, height - 2 * y).narrow(-1, x, width - 2 * x)


def lanczos(samples: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """[B, C, H, W] in 0..1, at 8 bits, as Pillow scales."""
    scaled = []
    for picture in samples.movedim(1, -1).cpu().numpy():
        whole = np.clip(255.0 * picture, 0, 255).astype(np.uint8)
        channels = [
            Image.fromarray(whole[..., channel]).resize((width, height), Image.Resampling.LANCZOS)
            for channel in range(whole.shape[-1])
        ]
        scaled.append(np.stack([np.asarray(channel, np.float32) / 255.0 for channel in channels]))
    return torch.from_numpy(np.stack(scaled)).to(samples.device, samples.dtype)


def repeat_to_batch_size(tensor: torch.Tensor, batch_size: int, dim: int = 0) -> torch.Tensor:
    """Cut, or repeated from the start, until it has that many."""
    size = tensor.shape[dim]
    if size >= batch_size:
        return tensor.narrow(dim, 0, batch_size)
    times = [1] * tensor.ndim
    times[dim] = -(-batch_size // size)
    return tensor.repeat(times).narrow(dim, 0, batch_size)


def resize_to_batch_size(tensor: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Elements spread evenly over the new size."""
    size = tensor.shape[0]
    if batch_size == size:
        return tensor
    if batch_size <= 1:
        return tensor[:batch_size]
    places = [round(index * (size - 1) / (batch_size - 1)) for index in range(batch_size)]
    return tensor[places]


def reshape_mask(input_mask: torch.Tensor, output_shape: Any) -> torch.Tensor:
    """A mask at the size, batch and channels of a tensor of `output_shape` [B, C, H, W]."""
    mask = input_mask.reshape((-1, 1, *input_mask.shape[-2:]))
    mask = torch.nn.functional.interpolate(mask, size=tuple(output_shape[-2:]), mode="bilinear")
    return repeat_to_batch_size(mask.expand(-1, output_shape[1], -1, -1), output_shape[0])


def get_tiled_scale_steps(width: int, height: int, tile_x: int, tile_y: int, overlap: int) -> int:
    """How many tiles there are."""
    return len(list(_starts(height, tile_y, overlap))) * len(list(_starts(width, tile_x, overlap)))


def tiled_scale(
    samples: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor], tile_x: int = 64, tile_y: int = 64,
    overlap: int = 8, upscale_amount: float = 4, out_channels: int = 3, output_device: Any = "cpu", pbar: Any = None,
) -> torch.Tensor:  # fmt: skip
    """[B, C, H, W] through `function` in tiles whose borders are blended linearly."""
    batch, _, height, width = samples.shape
    size = (batch, out_channels, round(height * upscale_amount), round(width * upscale_amount))
    total, weight = torch.zeros(size), torch.zeros((1, 1, *size[2:]))
    for y in _starts(height, tile_y, overlap):
        for x in _starts(width, tile_x, overlap):
            part = function(samples[:, :, y : y + tile_y, x : x + tile_x]).to("cpu", torch.float32)
            ramp = _ramp(part.shape[-2], round(overlap * upscale_amount))[:, None] * _ramp(
                part.shape[-1], round(overlap * upscale_amount)
            )
            top, left = round(y * upscale_amount), round(x * upscale_amount)
            place = (..., slice(top, top + part.shape[-2]), slice(left, left + part.shape[-1]))
            total[place] += part * ramp
            weight[place] += ramp
            if pbar is not None:
                pbar.update(1)
    return (total / weight).to(output_device)


def _starts(size: int, tile: int, overlap: int) -> Iterator[int]:
    if size <= tile:
        yield 0
        return
    at = 0
    while at + tile < size:
        yield at
        at += max(1, tile - overlap)
    yield size - tile


def _ramp(size: int, overlap: int) -> torch.Tensor:
    place = torch.arange(size, dtype=torch.float32)
    edge = torch.minimum(place, place.flip(0)) + 1
    return (edge / (overlap + 1)).clamp(max=1.0)


def get_attr(obj: Any, attr: str) -> Any:
    """By dotted name."""
    for name in attr.split("."):
        obj = getattr(obj, name)
    return obj


def set_attr(obj: Any, attr: str, value: Any) -> Any:
    """By dotted name; returns what was there."""
    *path, last = attr.split(".")
    holder = get_attr(obj, ".".join(path)) if path else obj
    before = getattr(holder, last, None)
    setattr(holder, last, value)
    return before


def load_torch_file(ckpt: Any, safe_load: bool = False, device: Any = None, return_metadata: bool = False) -> Any:
    """Tensors of a .safetensors file; other formats run code when they are read and are refused."""
    if not str(ckpt).lower().endswith((".safetensors", ".sft")):
        raise NotGiven("comfy.utils.load_torch_file for files that are not .safetensors")
    from safetensors import safe_open

    with safe_open(str(ckpt), framework="pt", device=str(device or "cpu")) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return (tensors, file.metadata()) if return_metadata else tensors
