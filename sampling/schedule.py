"""Sigma schedules: which noise levels a run of so many steps visits."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from sampling.model_sampling import ModelSampling, Prediction, continuous_edm, discrete, rescale_zero_terminal_snr

__all__ = [
    "SCHEDULERS",
    "ModelSampling",
    "Prediction",
    "Scheduler",
    "continuous_edm",
    "discrete",
    "exponential",
    "karras",
    "rescale_zero_terminal_snr",
    "sigmas_for",
]

Scheduler = Callable[[ModelSampling, int], Tensor]

# These samplers evaluate between two sigmas; the step before the last would fall so close to zero that it is dropped.
DISCARD_PENULTIMATE: Final = frozenset({"dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"})
_ZERO_TOLERANCE: Final = 1e-5
_BETA_ALPHA = _BETA_BETA = 0.6
_LINEAR_QUADRATIC_THRESHOLD: Final = 0.025


def sigmas_for(
    model_sampling: ModelSampling,
    scheduler: str,
    steps: int,
    *,
    sampler: str,
    denoise: float = 1.0,
    start: int | None = None,
    end: int | None = None,
    force_full_denoise: bool = False,
) -> Tensor:
    """Sigmas (float32, descending, [steps+1]) that one KSampler or KSamplerAdvanced run visits; empty: nothing to do.

    `denoise` < 1 takes the last `steps` of a longer schedule, 0 gives none. `start` and `end` cut that list by step
    number; an `end` before the last step leaves noise in the result unless `force_full_denoise` ends it at zero.
    Raises ValueError for an unknown scheduler or steps < 1.
    """
    if scheduler not in SCHEDULERS:
        raise ValueError(f"unknown scheduler {scheduler!r}; known: {', '.join(SCHEDULERS)}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if denoise <= 0.0:
        return torch.empty(0)
    if denoise > 0.9999:
        sigmas = _whole(model_sampling, scheduler, steps, sampler)
    else:
        sigmas = _whole(model_sampling, scheduler, int(steps / denoise), sampler)[-(steps + 1) :]
    if end is not None and end < len(sigmas) - 1:
        sigmas = sigmas[: end + 1].clone()
        if force_full_denoise:
            sigmas[-1] = 0.0
    if start is not None:
        sigmas = sigmas[start:] if start < len(sigmas) - 1 else sigmas[:0]
    return sigmas


def _whole(model_sampling: ModelSampling, scheduler: str, steps: int, sampler: str) -> Tensor:
    if sampler not in DISCARD_PENULTIMATE:
        return SCHEDULERS[scheduler](model_sampling, steps)
    sigmas = SCHEDULERS[scheduler](model_sampling, steps + 1)
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def _ending_in_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas.float(), torch.zeros(1)])


def simple(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Every (N/steps)-th entry of the table, from its noisy end."""
    table = model_sampling.sigmas
    stride = len(table) / steps
    return _ending_in_zero(torch.stack([table[-(1 + int(i * stride))] for i in range(steps)]))


def normal(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Uniform in timestep, from the first to the last one of the table."""
    first, last = _timestep_range(model_sampling)
    if math.isclose(float(model_sampling.sigma(last)), 0.0, abs_tol=_ZERO_TOLERANCE):
        return model_sampling.sigma(torch.linspace(float(first), float(last), steps + 1))
    return _ending_in_zero(model_sampling.sigma(torch.linspace(float(first), float(last), steps)))


def sgm_uniform(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Uniform in timestep without the last one, as Stability's generative-models space them ("trailing")."""
    first, last = _timestep_range(model_sampling)
    return _ending_in_zero(model_sampling.sigma(torch.linspace(float(first), float(last), steps + 1)[:-1]))


def _timestep_range(model_sampling: ModelSampling) -> tuple[Tensor, Tensor]:
    sigmas = model_sampling.sigmas
    return model_sampling.timestep(sigmas[-1]), model_sampling.timestep(sigmas[0])


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Uniform in sigma^(1/rho); Karras et al. (2022), eq. 5 (k-diffusion `get_sigmas_karras`)."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _ending_in_zero((high + ramp * (low - high)) ** rho)


def exponential(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Uniform in log sigma (k-diffusion `get_sigmas_exponential`)."""
    return _ending_in_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp())


def ddim_uniform(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Every (N//steps)-th table entry from the clean end, starting at the second ("leading" of the DDIM code).

    Rounding can make the list longer than steps + 1, and it need not reach the largest sigma.
    """
    table = model_sampling.sigmas
    starts_at_zero = math.isclose(float(table[1]), 0.0, abs_tol=_ZERO_TOLERANCE)
    stride = max(len(table) // (steps + 1 if starts_at_zero else steps), 1)
    picked = table[1::stride].flip(0).float()
    return picked if starts_at_zero else _ending_in_zero(picked)


def beta(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Timesteps at quantiles of Beta(0.6, 0.6), each once; Lee et al. (2024), "Beta Sampling is All You Need"."""
    import numpy as np
    from scipy import stats

    quantiles = 1 - np.linspace(0, 1, steps, endpoint=False)
    last = len(model_sampling.sigmas) - 1
    indices = np.rint(stats.beta.ppf(quantiles, _BETA_ALPHA, _BETA_BETA) * last).astype(int)
    kept = [int(index) for i, index in enumerate(indices) if i == 0 or index != indices[i - 1]]
    return _ending_in_zero(model_sampling.sigmas[kept])


def linear_quadratic(model_sampling: ModelSampling, steps: int) -> Tensor:
    """First half of the steps linear over 2.5 % of the range, then quadratic (the scheduler of Genmo's Mochi)."""
    if steps == 1:
        noise = [1.0]
    else:
        threshold = _LINEAR_QUADRATIC_THRESHOLD
        linear = steps // 2
        rest = steps - linear
        gap = linear - threshold * steps
        square = gap / (linear * rest**2)
        slope = threshold / linear - 2 * gap / rest**2
        offset = square * linear**2
        done = [i * threshold / linear for i in range(linear)]
        done += [square * i**2 + slope * i + offset for i in range(linear, steps)]
        noise = [1.0 - share for share in done]
    return _ending_in_zero(torch.tensor(noise) * model_sampling.sigma_max)


def kl_optimal(model_sampling: ModelSampling, steps: int) -> Tensor:
    """Uniform in arctan sigma; Sabour et al. (2024), "Align Your Steps", theorem 3.1."""
    share = torch.arange(steps, dtype=torch.float32) / max(steps - 1, 1)
    low, high = math.atan(model_sampling.sigma_min), math.atan(model_sampling.sigma_max)
    return _ending_in_zero((share * low + (1 - share) * high).tan())


SCHEDULERS: Final[Mapping[str, Scheduler]] = MappingProxyType(
    {
        "simple": simple,
        "sgm_uniform": sgm_uniform,
        "karras": lambda model, steps: karras(steps, model.sigma_min, model.sigma_max),
        "exponential": lambda model, steps: exponential(steps, model.sigma_min, model.sigma_max),
        "ddim_uniform": ddim_uniform,
        "beta": beta,
        "normal": normal,
        "linear_quadratic": linear_quadratic,
        "kl_optimal": kl_optimal,
    }
)
