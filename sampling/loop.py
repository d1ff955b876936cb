"""What a sampler loop is given, and the two formulas that most of them share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sampling import noise
from sampling.model_sampling import ModelSampling
from sampling.noise import NoiseSampler

# callback(step, total_steps, denoised, x): after the model call of each step. May raise to stop the run.
StepCallback = Callable[[int, int, Tensor, Tensor], None]


class Denoise(Protocol):
    """A guided denoiser: the estimate of the clean latent, [B,C,h,w], from `x` at noise levels `sigma` [B]."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The guided estimate and the unconditional one, which CFG++ samplers step along."""
        ...


class SamplerLoop(Protocol):
    """Integrates from `sigmas[0]` to `sigmas[-1]`; keyword options differ by sampler."""

    def __call__(self, run: "SamplerRun", x: Tensor, sigmas: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class SamplerRun:
    """Everything of one run that a sampler loop may use besides the latent and its sigmas."""

    denoise: Denoise
    model_sampling: ModelSampling
    seed: int
    total_steps: int
    callback: StepCallback | None = None

    def predict(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Denoised estimate of the whole batch at one scalar `sigma`."""
        return self.denoise(x, sigma.to(x) * x.new_ones(x.shape[0]))

    def predict_with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """Guided and unconditional estimate at one scalar `sigma`."""
        return self.denoise.with_uncond(x, sigma.to(x) * x.new_ones(x.shape[0]))

    def report(self, step: int, denoised: Tensor, x: Tensor) -> None:
        """Tell the caller that the model answered for `step` (from 0); whatever the callback raises goes through."""
        if self.callback is not None:
            self.callback(step, self.total_steps, denoised, x)

    def gaussian(self, x: Tensor) -> NoiseSampler:
        """Independent noise a step, seeded with the run's seed."""
        return noise.gaussian(x, self.seed)

    def brownian(self, x: Tensor, sigmas: Tensor) -> NoiseSampler:
        """Brownian increments over the run's sigmas, seeded with the run's seed."""
        return noise.brownian(x, sigmas, self.seed)


def slope(x: Tensor, sigma: Tensor, denoised: Tensor) -> Tensor:
    """dx/dsigma of the probability-flow ODE; Karras et al. (2022), eq. 1 with sigma(t) = t."""
    return (x - denoised) / sigma


def ancestral_step(sigma: Tensor, sigma_next: Tensor, eta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Split a step into the level to go down to and the noise to add: sigma_down^2 + sigma_up^2 = sigma_next^2.

    k-diffusion `get_ancestral_step`; `eta` 1 is the DDPM posterior, 0 is deterministic.
    """
    if not eta:
        return sigma_next, torch.zeros_like(sigma_next)
    up = eta * (sigma_next**2 * (sigma**2 - sigma_next**2) / sigma**2) ** 0.5
    up = torch.minimum(sigma_next, up)
    return (sigma_next**2 - up**2) ** 0.5, up
