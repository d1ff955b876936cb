"""Seeded noise: the start of a run, the fresh noise of ancestral samplers, and Brownian paths for SDE samplers."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import torch
from torch import Tensor

# Noise of unit variance for the step from the first sigma to the second (scalars), in the shape of the latent.
NoiseSampler = Callable[[Tensor, Tensor], Tensor]

SEED_RANGE: Final = 2**64
_TREE_DIGITS: Final = 6  # torchsde rounds times of a BrownianTree to its tolerance of 1e-6


def generator(seed: int) -> torch.Generator:
    """torch's CPU generator for a seed of 64 bits, without touching the global one."""
    return torch.Generator("cpu").manual_seed(seed % SEED_RANGE)


def initial_noise(latent_shape: Sequence[int], seed: int, batch_index: Sequence[int] | None = None) -> Tensor:
    """Noise (float32, CPU, `latent_shape`) of a run.

    Without `batch_index` it is one draw of the whole batch. With it (one entry per latent), one draw per index from 0
    up to the largest is made and those asked for are taken, so that a latent gets the noise of its place in the old
    batch.
    """
    source = generator(seed)
    if batch_index is None:
        return torch.randn(tuple(latent_shape), generator=source)
    if len(batch_index) != latent_shape[0]:
        raise ValueError(f"batch_index has {len(batch_index)} entries for a batch of {latent_shape[0]}")
    wanted = set(batch_index)
    draws: dict[int, Tensor] = {}
    for index in range(max(wanted) + 1):
        draw = torch.randn((1, *latent_shape[1:]), generator=source)
        if index in wanted:
            draws[index] = draw
    return torch.cat([draws[index] for index in batch_index])


def gaussian(x: Tensor, seed: int) -> NoiseSampler:
    """Independent noise in the shape of `x`. Its first draw equals `initial_noise` of the same seed, as in ComfyUI."""
    source = generator(seed)

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        return torch.randn(x.shape, generator=source, dtype=torch.float32).to(x)

    return draw


def brownian(x: Tensor, sigmas: Tensor, seed: int) -> NoiseSampler:
    """Increments of one Brownian path over sigma, so that other step sizes see the same path (k-diffusion, torchsde).

    The path spans the smallest positive to the largest of `sigmas`. It is always drawn on the CPU.
    """
    low, high = float(sigmas[sigmas > 0].min()), float(sigmas.max())

    # Made on first use: a run of a single step has no span to draw a path over, and needs none.
    @cache
    def tree() -> Callable[[float, float], Tensor]:
        import torchsde

        path: Callable[[float, float], Tensor] = torchsde.BrownianTree(
            low, torch.zeros(x.shape), high, entropy=seed % SEED_RANGE
        )
        return path

    def within(sigma: float) -> float:
        # The tree rounds its span; a query past the rounded end would be a warning.
        return min(max(sigma, round(low, _TREE_DIGITS)), round(high, _TREE_DIGITS))

    def draw(sigma: Tensor, sigma_next: Tensor) -> Tensor:
        here, there = float(sigma), float(sigma_next)
        # Paths run from the clean to the noisy end; a step down the schedule reads its increment backwards.
        sign = 1 if here < there else -1
        increment = sign * tree()(within(min(here, there)), within(max(here, there)))
        return (increment / (sigma_next - sigma).abs().float().sqrt().cpu()).to(x)

    return draw
