"""Linear multistep samplers on the slope dx/dsigma: LMS, iPNDM, iPNDM with variable steps, DEIS."""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from sampling.loop import SamplerRun, slope

# Adams-Bashforth weights for equal steps, latest slope first.
_ADAMS_BASHFORTH: Final = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def lms(run: SamplerRun, x: Tensor, sigmas: Tensor, *, order: int = 4) -> Tensor:
    """Adams-Bashforth with exact integrals of the Lagrange polynomials in sigma (k-diffusion `sample_lms`)."""
    table = sigmas.double().cpu().numpy()
    slopes: list[Tensor] = []  # latest first
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        slopes = [slope(x, sigmas[i], denoised), *slopes[: order - 1]]
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        nodes = table[i - np.arange(len(slopes))]
        weights = _integrals(nodes, float(table[i]), float(table[i + 1]))
        x = x + _weighted(slopes, weights)
    return x


def _integrals(nodes: np.ndarray, low: float, high: float) -> list[float]:
    """Integral from `low` to `high` of each Lagrange basis polynomial on `nodes`."""
    weights = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        integral = np.polyint(_from_roots(others))
        whole = np.polyval(integral, high) - np.polyval(integral, low)
        weights.append(float(whole / np.prod(node - others)))
    return weights


def _from_roots(roots: np.ndarray) -> np.ndarray:
    """Coefficients of the monic polynomial with these roots, highest power first."""
    return np.poly(roots) if len(roots) else np.ones(1)


def _weighted(slopes: Sequence[Tensor], weights: Iterable[float | Tensor]) -> Tensor:
    return torch.stack([weight * d for weight, d in zip(weights, slopes, strict=True)]).sum(dim=0)


def ipndm(run: SamplerRun, x: Tensor, sigmas: Tensor, *, max_order: int = 4) -> Tensor:
    """Adams-Bashforth as if steps were equal; improved PNDM of Zhang and Chen (2022), arXiv 2204.13902."""
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        slopes = [slope(x, sigmas[i], denoised), *slopes[: max_order - 1]]
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        x = x + (sigmas[i + 1] - sigmas[i]) * _weighted(slopes, _ADAMS_BASHFORTH[len(slopes)])
    return x


def ipndm_v(run: SamplerRun, x: Tensor, sigmas: Tensor, *, max_order: int = 4) -> Tensor:
    """iPNDM with weights for unequal steps (the diff-sampler code of Zhou et al. 2024)."""
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        slopes = [slope(x, sigmas[i], denoised), *slopes[: max_order - 1]]
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        steps = [sigmas[k + 1] - sigmas[k] for k in range(i, i - len(slopes), -1)]
        x = x + steps[0] * _weighted(slopes, _unequal_weights(steps))
    return x


def _unequal_weights(steps: Sequence[Tensor]) -> list[Tensor]:
    """Adams-Bashforth weights for 1 to 4 steps of unequal size, latest first, as diff-sampler writes them.

    From three steps on they are not the exact integrals, and four sum to 1 only for sizes in geometric progression;
    pictures made with this sampler depend on that.
    """
    if len(steps) == 1:
        return [torch.ones_like(steps[0])]
    h, h_1 = steps[0], steps[1]
    weights = [(2 + h / h_1) / 2, -(h / h_1) / 2]
    if len(steps) == 2:
        return weights
    h_2 = steps[2]
    third = (1 - h / (3 * (h + h_1)) * (h * (h + h_1)) / (h_1 * (h_1 + h_2))) / 2
    back = h_1 / h_2
    weights = [weights[0] + third, weights[1] - (1 + back) * third, third * back]
    if len(steps) == 3:
        return weights
    h_3 = steps[3]
    fourth = (1 - h / (3 * (h + h_1))) / 2 + (1 - h / (2 * (h + h_1))) * h / (6 * (h + h_1 + h_2))
    fourth = fourth * (h * (h + h_1) * (h + h_1 + h_2)) / (h_1 * (h_1 + h_2) * (h_1 + h_2 + h_3))
    far = h_1 * (h_1 + h_2) / (h_2 * (h_2 + h_3))
    return [
        weights[0] + fourth,
        weights[1] - (1 + back + far) * fourth,
        weights[2] + (back + far * (1 + h_2 / h_3)) * fourth,
        -fourth * far * back,
    ]


def deis(run: SamplerRun, x: Tensor, sigmas: Tensor, *, max_order: int = 3) -> Tensor:
    """DEIS with tabulated weights: polynomials in the time of a VP-SDE; Zhang and Chen (2022), "tAB-DEIS"."""
    weights = _deis_weights(sigmas, max_order)
    slopes: list[Tensor] = []
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        slopes = [slope(x, sigmas[i], denoised), *slopes[: max_order - 1]]
        if len(slopes) == 1 or sigmas[i + 1] <= 0:
            x = x + (sigmas[i + 1] - sigmas[i]) * slopes[0]
        else:
            x = x + _weighted(slopes, weights[i])
    return x


# The VP-SDE in whose time DEIS fits its polynomials: sigma 0.002 at t = 0.001 and 80 at t = 1 (Karras et al. 2022).
_VP_SIGMA_MIN, _VP_SIGMA_MAX, _VP_START = 0.002, 80.0, 1e-3
_QUADRATURE_POINTS: Final = 10_000


def _deis_weights(sigmas: Tensor, max_order: int) -> list[list[float]]:
    """For each step the integrals of d sigma/dt times the Lagrange polynomials in t, latest slope first."""
    beta_d, beta_min = _vp_betas()
    table = sigmas.double().cpu().numpy()
    times = (np.sqrt(beta_min**2 + 2 * beta_d * np.log(table**2 + 1)) - beta_min) / beta_d
    weights = []
    for i in range(len(times) - 1):
        if sigmas[i + 1] <= 0:  # the step to zero is of first order, and the rate has no finite value there
            weights.append([1.0])
            continue
        nodes = times[[i - k for k in range(min(i + 1, max_order))]]
        taus = np.linspace(times[i], times[i + 1], _QUADRATURE_POINTS)
        # With alpha_bar = exp(-beta_d t^2 / 2 - beta_min t), d sigma/dt = alpha_bar' terms of sqrt(1/alpha_bar - 1).
        alpha_bar = np.exp(-0.5 * beta_d * taus**2 - beta_min * taus)
        rate = (beta_d * taus + beta_min) / (2 * np.sqrt(alpha_bar * (1 - alpha_bar)))
        step = (times[i + 1] - times[i]) / _QUADRATURE_POINTS
        weights.append([float(np.sum(rate * _lagrange(nodes, j, taus)) * step) for j in range(len(nodes))])
    return weights


def _vp_betas() -> tuple[float, float]:
    low, high = np.log(_VP_SIGMA_MIN**2 + 1), np.log(_VP_SIGMA_MAX**2 + 1)
    beta_d = 2 * (low / _VP_START - high) / (_VP_START - 1)
    return float(beta_d), float(high - 0.5 * beta_d)


def _lagrange(nodes: np.ndarray, j: int, at: np.ndarray) -> np.ndarray:
    others = np.delete(nodes, j)
    values: np.ndarray = np.prod((at[:, None] - others) / (nodes[j] - others), axis=1)
    return values
