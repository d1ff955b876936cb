"""A list of latent batches cut anew. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    for latent in latents:
        if not latent.samples.shape[0]:
            continue
        entry = replace(latent, batch_index=_indices(latent, offset))
        offset += len(entry.batch_index or ())
        if waiting is not None and waiting.samples.shape[-2:] == entry.samples.shape[-2:]:
            entry = _joined(waiting, entry)
        elif waiting is not None:
            cut.append(waiting)
        *full, waiting = _cut(entry, size)
        cut += full
    return [_plain(latent) for latent in (*cut, *([waiting] if waiting else ()))]


def _indices(latent: Latent, offset: int) -> tuple[int, ...]:
    return latent.batch_index or tuple(range(offset, offset + latent.samples.shape[0]))


def _joined(first: Latent, second: Latent) -> Latent:
    bounded(first.samples.shape[0] + second.samples.shape[0], *first.samples.shape[1:])
    with fitting(first.samples, second.samples):
        samples = torch.cat((first.samples, second.samples))
    mask = None
    if first.noise_mask is not None or second.noise_mask is not None:
        upper, lower = _mask(first), _mask(second)
        if upper.shape[-2:] != lower.shape[-2:]:
            lower = functional.interpolate(lower, size=tuple(upper.shape[-2:]), mode="bilinear")
        mask = torch.cat((upper, lower))
    return Latent(samples, mask, (*(first.batch_index or ()), *(second.batch_index or ())))


def _cut(latent: Latent, size: int) -> list[Latent]:
    parts = [slice(start, start + size) for start in range(0, latent.samples.shape[0], size)]
    mask = None if latent.noise_mask is None else _mask(latent)
    return [
        Latent(latent.samples[part], None if mask is None else mask[part], (latent.batch_index or ())[part])
        for part in parts
    ]


def _mask(latent: Latent) -> Tensor:
    """A mask for every entry; without one everything is redrawn."""
    batch, (height, width) = latent.samples.shape[0], latent.samples.shape[-2:]
    if latent.noise_mask is None:
        return torch.ones(bounded(batch, 1, height * _CELL, width * _CELL))
    return masks_of(latent.noise_mask, batch)


def _plain(latent: Latent) -> Latent:
    """A mask of ones says nothing."""
    if latent.noise_mask is None or latent.noise_mask.mean() != 1.0:
        return latent
    return replace(latent, noise_mask=None)
