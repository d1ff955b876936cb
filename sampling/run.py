"""One sampling run, from noise and latent to latent: what a KSampler does between encoding and decoding."""

import math

import torch
from torch import Tensor

from sampling.inpaint import MaskedDenoise, MaskSchedule, fitted_mask
from sampling.loop import Denoise, SamplerRun, StepCallback
from sampling.model_sampling import ModelSampling
from sampling.noise import initial_noise
from sampling.samplers import SAMPLERS, Sampler


def sample(
    denoise: Denoise,
    model_sampling: ModelSampling,
    *,
    noise: Tensor,
    latent: Tensor,
    sigmas: Tensor,
    sampler: str | Sampler,
    seed: int,
    callback: StepCallback | None = None,
    noise_mask: Tensor | None = None,
    mask_schedule: MaskSchedule | None = None,
) -> Tensor:
    """Denoise `latent` + `noise` ([B,C,h,w], float32, latent in model space) along `sigmas`; the result has its shape.

    Noise of zeros continues an unfinished run. `noise_mask` (1 = redraw, 0 = keep; any size) protects parts of
    `latent`. Empty `sigmas` return the latent. The callback runs after each step's first model call; what it raises
    ends the run at once and comes out unchanged. Raises ValueError for an unknown sampler name.
    """
    chosen = _sampler(sampler)
    if len(sigmas) == 0:
        return latent.clone()
    with torch.no_grad():
        guarded = denoise
        if noise_mask is not None:
            mask = fitted_mask(noise_mask, latent.shape).to(latent)
            kept_noise = initial_noise(latent.shape, seed + 1).to(noise) if chosen.fresh_inpaint_noise else noise
            guarded = MaskedDenoise(denoise, model_sampling, mask, latent, kept_noise, mask_schedule)
        run = SamplerRun(guarded, model_sampling, seed, total_steps=len(sigmas) - 1, callback=callback)
        x = model_sampling.noise_scaling(sigmas[0], noise, latent, starts_at_maximum(model_sampling, sigmas))
        x = chosen(run, x, sigmas)
        return model_sampling.inverse_noise_scaling(sigmas[-1], x)


def _sampler(sampler: str | Sampler) -> Sampler:
    if isinstance(sampler, Sampler):
        return sampler
    if sampler not in SAMPLERS:
        raise ValueError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    return SAMPLERS[sampler]


def starts_at_maximum(model_sampling: ModelSampling, sigmas: Tensor) -> bool:
    """Whether the run starts from (at least) the model's largest sigma, where the latent is taken to be pure noise."""
    first = float(sigmas[0])
    return first > model_sampling.sigma_max or math.isclose(first, model_sampling.sigma_max, rel_tol=1e-5)
