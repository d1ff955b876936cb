"""Making latents fit each other. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

from kit.errors import InvalidRequest
from orchestrator.nodes.resize import resized
from sampling.conditioning import fit_batch


def like(samples: Tensor, shape: Sequence[int], *, repeat: bool = True) -> Tensor:
    """`samples` with the sides of `shape` (bilinear, cut around the centre) and, if `repeat`, its batch."""
    if tuple(samples.shape[1:]) != tuple(shape[1:]):
        samples = scaled(samples, shape[-1], shape[-2], "bilinear", "center")
    return fit_batch(samples, shape[0]) if repeat else samples


def scaled(samples: Tensor, width: int, height: int, method: str, crop: str) -> Tensor:
    """A latent of pictures [B, C, h, w] or films [B, C, T, h, w] at another size."""
    if samples.ndim < 5:
        return resized(samples, width, height, method, crop)
    batch, channels, frames = samples.shape[:3]
    flat = samples.transpose(1, 2).reshape(batch * frames, channels, *samples.shape[3:])  # BT C h w
    flat = resized(flat, width, height, method, crop)
    return flat.reshape(batch, frames, channels, height, width).transpose(1, 2)  # B C T h w


def masks_of(mask: Tensor, batch: int) -> Tensor:
    """A noise mask for every entry of a batch, repeated where there are fewer."""
    return fit_batch(mask, batch) if mask.shape[0] < batch else mask


@contextmanager
def fitting(*tensors: Tensor) -> Iterator[None]:
    """What torch cannot do with these shapes is InvalidRequest (LATENT_SHAPE)."""
    try:
        yield
    except (RuntimeError, ValueError, NotImplementedError, ZeroDivisionError) as error:
        raise InvalidRequest(
            "these latents do not fit together: they need the same channels, and places that are inside",
            reason="LATENT_SHAPE", shapes=" and ".join(str(list(tensor.shape)) for tensor in tensors),
        ) from error  # fmt: skip
