"""A world where everything is known: data of independent Gaussians, whose best denoiser and flow have closed forms."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

MEAN, SPREAD = 0.3, 0.7


@dataclass
class GaussianDenoise:
    """The exact posterior mean for data N(MEAN, SPREAD^2); counts its calls. Its unconditional estimate is the same."""

    sigmas: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        assert sigma.shape == (x.shape[0],)
        self.sigmas.append(float(sigma[0]))
        level = sigma.reshape(-1, 1, 1, 1)
        return (SPREAD**2 * x + level**2 * MEAN) / (SPREAD**2 + level**2)

    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = self(x, sigma)
        return denoised, denoised


def flow(x: Tensor, sigma: float, target: float) -> Tensor:
    """Where the probability-flow ODE carries `x` from `sigma` to `target`."""
    return MEAN + (x - MEAN) * ((SPREAD**2 + target**2) / (SPREAD**2 + sigma**2)) ** 0.5


def starts(shape: tuple[int, ...], sigma: float, seed: int = 5) -> Tensor:
    """Samples of the noisy marginal at `sigma`, float64."""
    source = torch.Generator().manual_seed(seed)
    spread = (SPREAD**2 + sigma**2) ** 0.5
    return MEAN + spread * torch.randn(shape, generator=source, dtype=torch.float64)
