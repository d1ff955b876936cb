"""A list of latent batches cut anew. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.latent_fit import fitting, masks_of
from orchestrator.values.tensors import Latent

_CELL = 8


def rebatched(latents: Sequence[Latent], size: int) -> list[Latent]:
    """Batches of `size`, a smaller one where a run of equal sides ends; entries know their place in the list."""
    cut: list[Latent] = []
    waiting: Latent | None = None
    offset = 0
    for latent in (latent for latent in latents if latent.samples.shape[0]):
        entry = _completed(latent, offset)
        offset += len(entry.batch_index or ())
        if waiting is not None and waiting.samples.shape[-2:] == entry.samples.shape[-2:]:
            entry = _joined(waiting, entry)
        elif waiting is not None:
            cut.append(waiting)
        *full, waiting = _cut(entry, size)
        cut += full
    return [_plain(latent) for latent in (*cut, *([waiting] if waiting else ()))]


def _completed(latent: Latent, offset: int) -> Latent:
    """With a mask and an index for every entry."""
    batch, (height, width) = latent.samples.shape[0], latent.samples.shape[-2:]
    mask = latent.noise_mask
    mask = torch.ones(bounded(batch, 1, height * _CELL, width * _CELL)) if mask is None else masks_of(mask, batch)
    indices = latent.batch_index or tuple(range(offset, offset + batch))
    return Latent(latent.samples, mask, indices)


def _joined(first: Latent, second: Latent) -> Latent:
    mask, other = _mask(first), _mask(second)
    if mask.shape[-2:] != other.shape[-2:]:
        other = functional.interpolate(other, size=mask.shape[-2:], mode="bilinear")
    bounded(first.samples.shape[0] + second.samples.shape[0], *first.samples.shape[1:])
    with fitting(first.samples, second.samples):
        samples = torch.cat((first.samples, second.samples))
    return Latent(samples, torch.cat((mask, other)), (*(first.batch_index or ()), *(second.batch_index or ())))


def _cut(latent: Latent, size: int) -> list[Latent]:
    starts = range(0, latent.samples.shape[0], size)
    return [
        Latent(
            latent.samples[at : at + size], _mask(latent)[at : at + size], (latent.batch_index or ())[at : at + size]
        )
        for at in starts
    ]


def _plain(latent: Latent) -> Latent:
    """A mask of ones says nothing."""
    return Latent(latent.samples, None, latent.batch_index) if _mask(latent).mean() == 1.0 else latent


def _mask(latent: Latent) -> Tensor:
    assert latent.noise_mask is not None
    return latent.noise_mask
