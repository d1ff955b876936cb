"""Exponential SDE solvers with stages; Gonzalez et al. (2023), "SEEDS", arXiv 2305.14267, data-prediction form.

Each stage sees noise of its own sub-interval of the step, so that the stages share one Brownian motion.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sampling.loop import SamplerRun


def seeds_2(
    run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5
) -> Tensor:
    """SEEDS-2: one inner stage at share `r` of the step in lambda."""
    draw = run.gaussian(x)
    model = run.model_sampling
    noisy = eta > 0 and s_noise > 0
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        start, end = model.half_log_snr(sigmas[i]), model.half_log_snr(sigmas[i + 1])
        h = end - start
        middle = model.sigma_of_half_log_snr(start.lerp(end, r))
        noises = [draw(sigmas[i], middle), draw(middle, sigmas[i + 1])] if noisy else []
        x_2 = _advance(run, x, denoised, sigmas[i], middle, eta)
        if noisy:
            x_2 = x_2 + middle * s_noise * _joined(noises[:1], h, eta, (0.0, r))
        denoised_2 = run.predict(x_2, middle)
        weight = 1 / (2 * r)
        x = _advance(run, x, (1 - weight) * denoised + weight * denoised_2, sigmas[i], sigmas[i + 1], eta)
        if noisy:
            x = x + sigmas[i + 1] * s_noise * _joined(noises, h, eta, (0.0, r, 1.0))
    return x


def seeds_3(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r_1: float = 1 / 3,
    r_2: float = 2 / 3,
) -> Tensor:
    """SEEDS-3: two inner stages at shares `r_1` and `r_2` of the step in lambda."""
    draw = run.gaussian(x)
    model = run.model_sampling
    noisy = eta > 0 and s_noise > 0
    shares = (0.0, r_1, r_2, 1.0)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        start, end = model.half_log_snr(sigmas[i]), model.half_log_snr(sigmas[i + 1])
        h = end - start
        inner = [model.sigma_of_half_log_snr(start.lerp(end, r)) for r in (r_1, r_2)]
        places = [sigmas[i], *inner, sigmas[i + 1]]
        noises = [draw(*pair) for pair in pairwise(places)] if noisy else []
        bend, stage = torch.zeros_like(x), x
        for k in (1, 2, 3):
            stage = _advance(run, x, denoised, sigmas[i], places[k], eta) + bend
            if noisy:
                stage = stage + places[k] * s_noise * _joined(noises[:k], h, eta, shares[: k + 1])
            if k < 3:
                change = run.predict(stage, places[k]) - denoised
                bend = _bend(run, places[k + 1], h * (eta + 1), shares[k], shares[k + 1]) * change
        x = stage
    return x


def _advance(run: SamplerRun, x: Tensor, estimate: Tensor, sigma: Tensor, target: Tensor, eta: float) -> Tensor:
    """Exact solution of the SDE's drift for a constant estimate."""
    model = run.model_sampling
    h = model.half_log_snr(target) - model.half_log_snr(sigma)
    alpha = target * model.half_log_snr(target).exp()
    return target / sigma * (-h * eta).exp() * x - alpha * (-h * (eta + 1)).expm1() * estimate


def _bend(run: SamplerRun, target: Tensor, h_eta: Tensor, stage: float, share: float) -> Tensor:
    """Weight at `target` (a `share` of the step) of the change of the estimate seen at `stage`: the phi_2 term."""
    alpha = target * run.model_sampling.half_log_snr(target).exp()
    return share / stage * alpha * ((-share * h_eta).expm1() / (share * h_eta) + 1)


def _joined(noises: Sequence[Tensor], h: Tensor, eta: float, shares: Sequence[float]) -> Tensor:
    """Noise of the sub-intervals between `shares`, decayed to the last share; in units of the sigma there.

    A sub-interval that ends `near` and begins `far` before the last share has variance e^(-2 near h) - e^(-2 far h).
    """
    total = torch.zeros_like(noises[0])
    for noise, (low, high) in zip(noises, pairwise(shares), strict=True):
        near, far = shares[-1] - high, shares[-1] - low
        total = total + ((-2 * near * h * eta).expm1() - (-2 * far * h * eta).expm1()).sqrt() * noise
    return total
