"""From prompts to a denoiser: composition of conditioning entries and classifier-free guidance.

    denoise = denoiser(model_fn, model_sampling, positive, negative, cfg=7.0, latent_size=(64, 64))
    denoised = denoise(x, sigma)                    # x [B,C,h,w], sigma [B]

`model_fn(x_in, timestep, inputs)` is the bare network: `x_in` [n*B, C + concat channels, h, w] is already scaled,
`timestep` [n*B] float32, `inputs["context"]` [n*B, T, D], further inputs as named in `Cond.extra`; it returns the raw
output [n*B, C, h, w]. All entries whose crops have one shape go into one call.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from sampling.conditioning import Cond, Placed, fit_batch, place, with_opposites
from sampling.model_sampling import ModelSampling

__all__ = ["Cond", "Denoiser", "Guided", "Hooks", "ModelFn", "Predictor", "denoiser"]

ModelFn = Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor]

# Contexts of different length are repeated to their least common multiple (attention does not change by that), but no
# context more often than this; beyond it a separate call is cheaper.
_MAX_CONTEXT_REPEATS: Final = 4
# Places that no entry covers divide zero by this.
_NO_WEIGHT: Final = 1e-37


@dataclass(frozen=True, eq=False)
class Predictor:
    """The network with its noise schedule: denoised estimates of whole groups of conditioning entries."""

    model_fn: ModelFn
    model_sampling: ModelSampling

    def __call__(self, groups: Sequence[Sequence[Placed]], x: Tensor, sigma: Tensor) -> list[Tensor]:
        """One estimate [B,C,h,w] per group: the weighted mean of its entries' estimates; zeros for an empty group."""
        total = [torch.zeros_like(x) for _ in groups]
        weights = [torch.full_like(x, _NO_WEIGHT) for _ in groups]
        level = float(sigma[0])
        jobs = [(i, entry) for i, group in enumerate(groups) for entry in group if entry.holds_at(level)]
        for batch in _batches(jobs, x):
            for (i, entry), estimate in zip(batch, self._estimates([e for _, e in batch], x, sigma), strict=True):
                weight = entry.weight(x)
                # `crop` gives views, so that adding to them adds to the whole.
                entry.crop(total[i]).add_(estimate * weight)
                entry.crop(weights[i]).add_(weight)
        return [t / w for t, w in zip(total, weights, strict=True)]

    def _estimates(self, entries: Sequence[Placed], x: Tensor, sigma: Tensor) -> tuple[Tensor, ...]:
        crops = torch.cat([entry.crop(x) for entry in entries])
        sigmas = sigma.repeat(len(entries))
        x_in = self.model_sampling.calculate_input(sigmas, crops)
        if entries[0].cond.concat is not None:
            channels = [fit_batch(entry.crop(_concat(entry)), x.shape[0]) for entry in entries]
            x_in = torch.cat([x_in, torch.cat(channels).to(x_in)], dim=1)
        output = self.model_fn(x_in, self.model_sampling.timestep(sigmas), _inputs(entries, x.shape[0]))
        return self.model_sampling.calculate_denoised(sigmas, output.to(x), crops).chunk(len(entries))


def _concat(entry: Placed) -> Tensor:
    if entry.cond.concat is None:
        raise ValueError("entries of one call must all have concat channels or none")
    return entry.cond.concat


def _inputs(entries: Sequence[Placed], batch: int) -> dict[str, Any]:
    tokens = math.lcm(*(entry.cond.cross_attn.shape[1] for entry in entries))
    contexts = [entry.cond.cross_attn.repeat(1, tokens // entry.cond.cross_attn.shape[1], 1) for entry in entries]
    inputs: dict[str, Any] = {"context": torch.cat([fit_batch(context, batch) for context in contexts])}
    for name, value in entries[0].cond.extra.items():
        if isinstance(value, Tensor):
            inputs[name] = torch.cat([fit_batch(entry.cond.extra[name], batch) for entry in entries])
        else:
            inputs[name] = value
    return inputs


_Job = tuple[int, Placed]


def _batches(jobs: Sequence[_Job], x: Tensor) -> list[list[_Job]]:
    """Split entries into as few model calls as their shapes allow, in their order."""
    batches: list[list[_Job]] = []
    for job in jobs:
        for batch in batches:
            if _joins([entry for _, entry in batch], job[1], x):
                batch.append(job)
                break
        else:
            batches.append([job])
    return batches


def _joins(batch: Sequence[Placed], entry: Placed, x: Tensor) -> bool:
    first = batch[0]
    if first.crop(x).shape != entry.crop(x).shape or not _same_extra(first.cond, entry.cond):
        return False
    if (first.cond.concat is None) != (entry.cond.concat is None):
        return False
    if first.cond.cross_attn.shape[2] != entry.cond.cross_attn.shape[2]:
        return False
    lengths = [other.cond.cross_attn.shape[1] for other in (*batch, entry)]
    return math.lcm(*lengths) // min(lengths) <= _MAX_CONTEXT_REPEATS


def _same_extra(one: Cond, two: Cond) -> bool:
    if one.extra.keys() != two.extra.keys():
        return False
    for name, value in one.extra.items():
        other = two.extra[name]
        if isinstance(value, Tensor) and isinstance(other, Tensor):
            if value.shape[1:] != other.shape[1:]:
                return False
        elif value is not other:
            return False
    return True


@dataclass(frozen=True, eq=False)
class Guided:
    """One guidance step as the hooks see it. `uncond` is zeros where guidance of 1 made it needless."""

    x: Tensor
    sigma: Tensor
    cfg: float
    cond: Tensor
    uncond: Tensor
    denoised: Tensor
    positive: Sequence[Placed]
    negative: Sequence[Placed]
    predict: Predictor


@dataclass(frozen=True, eq=False)
class Hooks:
    """Functions around guidance, run in order. `needs_uncond` keeps the unconditional estimate even at cfg 1.

    `pre_cfg` returns new (cond, uncond) from a `Guided` whose `denoised` is not yet made (it equals `cond`);
    `combine` replaces the guidance formula; `post_cfg` returns a new denoised.
    """

    pre_cfg: tuple[Callable[[Guided], tuple[Tensor, Tensor]], ...] = ()
    combine: Callable[[Guided], Tensor] | None = None
    post_cfg: tuple[Callable[[Guided], Tensor], ...] = ()
    needs_uncond: bool = False


@dataclass(frozen=True, eq=False)
class Denoiser:
    """Classifier-free guidance between two groups of entries; a `sampling.loop.Denoise`."""

    predict: Predictor
    positive: Sequence[Placed]
    negative: Sequence[Placed]
    cfg: float
    hooks: Hooks = Hooks()

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        return self._guide(x, sigma, self.hooks.needs_uncond)[0]

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return self._guide(x, sigma, True)

    def _guide(self, x: Tensor, sigma: Tensor, needs_uncond: bool) -> tuple[Tensor, Tensor]:
        idle = math.isclose(self.cfg, 1.0) and not needs_uncond
        cond, uncond = self.predict([self.positive, [] if idle else self.negative], x, sigma)
        for before in self.hooks.pre_cfg:
            cond, uncond = before(self._step(x, sigma, cond, uncond, cond))
        if self.hooks.combine is not None:
            denoised = self.hooks.combine(self._step(x, sigma, cond, uncond, cond))
        else:
            denoised = uncond + (cond - uncond) * self.cfg
        for after in self.hooks.post_cfg:
            denoised = after(self._step(x, sigma, cond, uncond, denoised))
        return denoised, uncond

    def _step(self, x: Tensor, sigma: Tensor, cond: Tensor, uncond: Tensor, denoised: Tensor) -> Guided:
        return Guided(x, sigma, self.cfg, cond, uncond, denoised, self.positive, self.negative, self.predict)


def denoiser(
    model_fn: ModelFn,
    model_sampling: ModelSampling,
    positive: Sequence[Cond],
    negative: Sequence[Cond],
    cfg: float,
    *,
    latent_size: tuple[int, int],
    hooks: Hooks = Hooks(),
) -> Denoiser:
    """A guided denoiser for latents of `latent_size` (height, width).

    Ho and Salimans (2022): uncond + (cond - uncond) * cfg. At cfg 1 the negative entries are not computed unless a hook
    or a CFG++ sampler needs them.
    """
    groups = with_opposites([place(entries, model_sampling, latent_size) for entries in (positive, negative)])
    return Denoiser(Predictor(model_fn, model_sampling), groups[0], groups[1], cfg, hooks)
