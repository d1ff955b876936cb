"""SA-Solver: stochastic Adams predictor and corrector; Xue et al. (2023), arXiv 2309.05019, data prediction."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sampling.loop import SamplerRun

# Share of noise (tau) for a step that ends at this sigma; 0 is deterministic.
Tau = Callable[[float], float]


def tau_within(start_sigma: float, end_sigma: float, eta: float = 1.0) -> Tau:
    """`eta` while sigma lies between the two, 0 outside."""
    return lambda sigma: eta if end_sigma <= sigma <= start_sigma else 0.0


def sa_solver(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    tau: Tau | None = None,
    s_noise: float = 1.0,
    predictor_order: int = 3,
    corrector_order: int = 4,
    use_pece: bool = False,
    simple_order_2: bool = False,
) -> Tensor:
    """Predict, evaluate, correct; with `use_pece` evaluate again after the correction.

    By default noise enters between 20 % and 80 % of the process. Orders fall towards an end at sigma 0.
    """
    model = run.model_sampling
    tau = tau or tau_within(model.percent_to_sigma(0.2), model.percent_to_sigma(0.8))
    draw = run.gaussian(x)
    lambdas = model.half_log_snr(sigmas).double()
    weights = _simple_weights if simple_order_2 else _adams_weights
    ends_clean = sigmas[-1] == 0
    predicted, past = x, list[Tensor]()
    last_tau, noise = 0.0, torch.zeros_like(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(predicted, sigmas[i])
        run.report(i, denoised, predicted)
        past = [*past, denoised][-max(predictor_order, corrector_order, 1) :]
        predict_with, correct_with = min(predictor_order, len(past)), min(corrector_order, len(past))
        if ends_clean:
            predict_with = min(predict_with, len(sigmas) - 2 - i)
            correct_with = min(correct_with, len(sigmas) - 1 - i)
        if i == 0 or (sigmas[i + 1] == 0 and not use_pece):
            correct_with = 0
        if correct_with == 0:
            x = predicted
        else:
            nodes = lambdas[i - correct_with + 1 : i + 1]
            part = weights(nodes, lambdas[i - 1], lambdas[i], last_tau, correcting=True)
            x = _adams(x, past[-correct_with:], part, sigmas, lambdas, i, last_tau) + noise
            if use_pece:
                denoised = run.predict(x, sigmas[i])
                past[-1] = denoised
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        last_tau = tau(float(sigmas[i + 1]))
        nodes = lambdas[i - predict_with + 1 : i + 1]
        part = weights(nodes, lambdas[i], lambdas[i + 1], last_tau, correcting=False)
        predicted = _adams(x, past[-predict_with:], part, sigmas, lambdas, i + 1, last_tau)
        noise = torch.zeros_like(x)
        if last_tau > 0 and s_noise > 0:
            level = float(torch.expm1(-2 * last_tau**2 * (lambdas[i + 1] - lambdas[i])).neg().sqrt())
            noise = draw(sigmas[i], sigmas[i + 1]) * sigmas[i + 1] * level * s_noise
        predicted = predicted + noise
    return x if sigmas[-1] == 0 else predicted


def _adams(
    x: Tensor, estimates: Sequence[Tensor], weights: Tensor, sigmas: Tensor, lambdas: Tensor, to: int, tau: float
) -> Tensor:
    """One Adams step from sigma `to - 1` to sigma `to`; the weights are relative to alpha at the target."""
    h = lambdas[to] - lambdas[to - 1]
    decay = float(torch.exp(-(tau**2) * h))
    alpha = float(sigmas[to].double() * lambdas[to].exp())
    total = sigmas[to] / sigmas[to - 1] * decay * x
    for estimate, weight in zip(estimates, weights, strict=True):
        total = total + alpha * float(weight) * estimate
    return total


def _adams_weights(nodes: Tensor, start: Tensor, end: Tensor, tau: float, *, correcting: bool) -> Tensor:
    """(1+tau^2) * integral over [start, end] of exp((1+tau^2)(u - end)) times the Lagrange polynomials on `nodes`.

    Eq. 14 of the paper; `nodes` [k] are half log SNRs, float64. The moments follow from integration by parts.
    """
    del correcting
    k, rate, h = len(nodes), 1.0 + tau**2, float(end - start)
    # Moments of v = u - end, in [-h, 0], under rate * exp(rate v).
    moments = [1 - np.exp(-rate * h)]
    for power in range(1, k):
        moments.append(-((-h) ** power) * np.exp(-rate * h) - power / rate * moments[-1])
    shifted = (nodes - end).numpy()
    weights = []
    for j in range(k):
        others = np.delete(shifted, j)
        basis = np.polynomial.Polynomial.fromroots(others).coef / np.prod(shifted[j] - others)
        weights.append(float(np.dot(basis, moments[:k])))
    return torch.tensor(weights, dtype=torch.float64)


def _simple_weights(nodes: Tensor, start: Tensor, end: Tensor, tau: float, *, correcting: bool) -> Tensor:
    """As `_adams_weights`, but order 2 in the simplified form of the paper's appendix D."""
    if len(nodes) != 2:
        return _adams_weights(nodes, start, end, tau, correcting=correcting)
    rate, h = 1.0 + tau**2, end - start
    whole = torch.expm1(-h * rate).neg()
    older = whole - 0.5 * rate * h if correcting else 0.5 * rate * h**2 / (nodes[0] - start)
    return torch.stack([older, whole - older])
