"""SA-Solver: stochastic Adams predictor and corrector; Xue et al. (2023), arXiv 2309.05019, data prediction."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sampling.loop import SamplerRun

# Share of noise (tau) for a step that ends at this sigma; 0 is deterministic.
Tau = Callable[[float], float]


def tau_within(start_sigma: float, end_sigma: float, eta: float = 1.0) -> Tau:
    """`eta` while sigma lies between the two, 0 outside."""
    return lambda sigma: eta if end_sigma <= sigma <= start_sigma else 0.0


@dataclass(frozen=True)
class _Adams:
    """Steps between the sigmas of one run; half log SNRs in float64: weights are differences of close numbers."""

    sigmas: Tensor
    lambdas: Tensor
    simple_order_2: bool

    def step(self, x: Tensor, estimates: Sequence[Tensor], to: int, tau: float, *, correcting: bool) -> Tensor:
        """From sigma `to - 1` to sigma `to`; the last of `estimates` lies at `to` when correcting, else at `to - 1`."""
        last = to + 1 if correcting else to
        nodes = self.lambdas[last - len(estimates) : last]
        make = _simple_weights if self.simple_order_2 and len(nodes) == 2 else _adams_weights
        weights = make(nodes, self.lambdas[to - 1], self.lambdas[to], tau)
        decay = float(torch.exp(-(tau**2) * self.span(to)))
        alpha = float(self.sigmas[to].double() * self.lambdas[to].exp())
        total = self.sigmas[to] / self.sigmas[to - 1] * decay * x
        for estimate, weight in zip(estimates, weights, strict=True):
            total = total + alpha * float(weight) * estimate
        return total

    def span(self, to: int) -> Tensor:
        return self.lambdas[to] - self.lambdas[to - 1]

    def noise_level(self, to: int, tau: float) -> float:
        return float(self.sigmas[to] * torch.expm1(-2 * tau**2 * self.span(to)).neg().sqrt())

    def orders(self, i: int, known: int, predictor: int, corrector: int, pece: bool) -> tuple[int, int]:
        """Orders to predict and correct with at step `i`, falling towards an end at sigma 0."""
        predict, correct = min(predictor, known), min(corrector, known)
        if self.sigmas[-1] == 0:
            left = len(self.sigmas) - 1 - i
            predict, correct = min(predict, left - 1), min(correct, left)
        # The first point is exact, and the last is not worth correcting unless it is evaluated again.
        idle = i == 0 or (self.sigmas[i + 1] == 0 and not pece)
        return predict, 0 if idle else correct


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
    adams = _Adams(sigmas, model.half_log_snr(sigmas.double()), simple_order_2)
    past: list[Tensor] = []
    predicted, noise, last_tau = x, torch.zeros_like(x), 0.0
    for i in range(len(sigmas) - 1):
        denoised = run.predict(predicted, sigmas[i])
        run.report(i, denoised, predicted)
        past = [*past, denoised][-max(predictor_order, corrector_order, 1) :]
        predict, correct = adams.orders(i, len(past), predictor_order, corrector_order, use_pece)
        # The corrector repeats the step that led here, with the same noise.
        x = adams.step(x, past[-correct:], i, last_tau, correcting=True) + noise if correct else predicted
        if correct and use_pece:
            denoised = past[-1] = run.predict(x, sigmas[i])
        if sigmas[i + 1] == 0:
            return denoised
        last_tau = tau(float(sigmas[i + 1]))
        noise = torch.zeros_like(x)
        if last_tau > 0 and s_noise > 0:
            noise = draw(sigmas[i], sigmas[i + 1]) * adams.noise_level(i + 1, last_tau) * s_noise
        predicted = adams.step(x, past[-predict:], i + 1, last_tau, correcting=False) + noise
    return predicted


def _adams_weights(nodes: Tensor, start: Tensor, end: Tensor, tau: float) -> Tensor:
    """(1+tau^2) * integral over [start, end] of exp((1+tau^2)(u - end)) times the Lagrange polynomials on `nodes`.

    Eq. 14 of the paper; `nodes` [k] are half log SNRs, float64. The moments follow from integration by parts.
    """
    k, rate, h = len(nodes), 1.0 + tau**2, float(end - start)
    # Moments of v = u - end, in [-h, 0], under rate * exp(rate v).
    moments = [1 - np.exp(-rate * h)]
    for power in range(1, k):
        moments.append(-((-h) ** power) * np.exp(-rate * h) - power / rate * moments[-1])
    shifted = (nodes - end).numpy()
    weights = []
    for j in range(k):
        others = np.delete(shifted, j)
        ascending = np.poly(others)[::-1] if k > 1 else np.ones(1)  # coefficients of the product of (v - other)
        weights.append(float(np.dot(ascending, moments) / np.prod(shifted[j] - others)))
    return torch.tensor(weights, dtype=torch.float64)


def _simple_weights(nodes: Tensor, start: Tensor, end: Tensor, tau: float) -> Tensor:
    """As `_adams_weights` for two nodes, in the simplified form of the paper's appendix D."""
    rate, h = 1.0 + tau**2, end - start
    whole = torch.expm1(-h * rate).neg()
    correcting = bool(nodes[-1] == end)
    older = whole - 0.5 * rate * h if correcting else 0.5 * rate * h**2 / (nodes[0] - start)
    return torch.stack([older, whole - older])
