"""Extended-reverse-time SDE solver; Cui et al. (2023), arXiv 2309.06169."""

from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor

from sampling.loop import SamplerRun

NoiseScaler = Callable[[Tensor], Tensor]
_QUADRATURE_POINTS: Final = 200


def default_noise_scaler(level: Tensor) -> Tensor:
    """The paper's ER-SDE-5: lambda * (exp(lambda^0.3) + 10)."""
    return level * ((level**0.3).exp() + 10.0)


def reverse_time_noise_scaler(eta: float) -> NoiseScaler:
    """lambda^(eta+1): the reverse-time SDE at eta 1, the ODE at eta 0."""
    return lambda level: level ** (eta + 1)


def er_sde(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    max_stage: Literal[1, 2, 3] = 3,
    s_noise: float = 1.0,
    noise_scaler: NoiseScaler = default_noise_scaler,
) -> Tensor:
    """Taylor expansion of the estimate in lambda = sigma/alpha up to `max_stage` terms, plus noise."""
    draw = run.gaussian(x)
    model = run.model_sampling
    levels = (-model.half_log_snr(sigmas)).exp()
    past: list[Tensor] = []  # the estimate's derivatives of order 0 and 1 at the last step
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        here, there = levels[i], levels[i + 1]
        alpha, alpha_next = sigmas[i] / here, sigmas[i + 1] / there
        shrink = noise_scaler(there) / noise_scaler(here)
        x = alpha_next / alpha * shrink * x + alpha_next * (1 - shrink) * denoised
        derivatives = [denoised]
        if past and max_stage >= 2:
            derivatives.append((denoised - past[0]) / (here - levels[i - 1]))
            x = x + alpha_next * _second_weight(here, there, noise_scaler) * derivatives[1]
        if len(past) >= 2 and max_stage >= 3:
            curvature = (derivatives[1] - past[1]) / ((here - levels[i - 2]) / 2)
            x = x + alpha_next * _third_weight(here, there, noise_scaler) * curvature
        if s_noise > 0:
            spread = (there**2 - here**2 * shrink**2).sqrt().nan_to_num(nan=0.0)
            x = x + alpha_next * draw(sigmas[i], sigmas[i + 1]) * s_noise * spread
        past = derivatives
    return x


def _quadrature(here: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
    width = (here - there) / _QUADRATURE_POINTS
    return there + torch.arange(_QUADRATURE_POINTS, dtype=torch.float32, device=here.device) * width, width


def _second_weight(here: Tensor, there: Tensor, noise_scaler: NoiseScaler) -> Tensor:
    at, width = _quadrature(here, there)
    integral = (1 / noise_scaler(at)).sum() * width
    return there - here + integral * noise_scaler(there)


def _third_weight(here: Tensor, there: Tensor, noise_scaler: NoiseScaler) -> Tensor:
    at, width = _quadrature(here, there)
    integral = ((at - here) / noise_scaler(at)).sum() * width
    return (there - here) ** 2 / 2 + integral * noise_scaler(there)
