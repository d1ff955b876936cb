"""DPM-Solver in noise prediction with steps of its own choice: fast (fixed number of calls) and adaptive.

Lu et al. (2022), arXiv 2206.00927; k-diffusion `DPMSolver`. Time is t = -ln(sigma).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from sampling.euler import euler
from sampling.loop import SamplerRun, ancestral_step

_MAX_ATTEMPTS: Final = 10_000
_TIME_TOLERANCE: Final = 1e-5


def dpm_fast(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """As many model calls as steps, in third-order steps uniform in log sigma with a shorter end.

    Only the first and the last positive sigma count.
    """
    if not _has_span(sigmas):
        return euler(run, x, sigmas)
    start, end = _time_range(sigmas)
    calls = len(sigmas) - 1
    steps = calls // 3 + 1
    times = torch.linspace(float(start), float(end), steps + 1, dtype=start.dtype)
    orders = [3] * (steps - 2) + [2, 1] if calls % 3 == 0 else [3] * (steps - 1) + [calls % 3]
    for i, order in enumerate(orders):
        noise = _Noise(run, x, times[i])
        run.report(i, x - times[i].neg().exp() * noise(), x)
        x = _STEPS[order](noise, times[i + 1])[-1]
    return x


def _has_span(sigmas: Tensor) -> bool:
    """Whether there are two positive sigmas to solve between in log sigma; otherwise one Euler step is all."""
    return int((sigmas > 0).sum()) > 1


def _time_range(sigmas: Tensor) -> tuple[Tensor, Tensor]:
    """First and last time."""
    last = sigmas[-1] if sigmas[-1] > 0 else sigmas[-2]
    if sigmas[0] < last:
        raise ValueError("dpm_fast and dpm_adaptive need sigmas that fall; these rise")
    return -sigmas[0].log(), -last.log()


@dataclass
class _Noise:
    """The predicted noise at the start of a step and at its stages, each computed once."""

    run: SamplerRun
    x: Tensor
    time: Tensor
    _known: dict[float, Tensor] = field(default_factory=dict)

    def __call__(self) -> Tensor:
        return self.at(0.0, lambda: (self.x, self.time))

    def at(self, share: float, stage: Callable[[], tuple[Tensor, Tensor]]) -> Tensor:
        if share not in self._known:
            x, time = stage()
            sigma = (-time).exp()
            self._known[share] = (x - self.run.predict(x, sigma)) / sigma
        return self._known[share]


def _first(noise: _Noise, target: Tensor) -> list[Tensor]:
    h = target - noise.time
    return [noise.x - (-target).exp() * h.expm1() * noise()]


def _second(noise: _Noise, target: Tensor, r: float = 0.5) -> list[Tensor]:
    """Results of first and second order from one set of model calls."""
    h = target - noise.time
    eps = noise()
    eps_1 = _stage(noise, h, r)
    first = _first(noise, target)
    return [*first, first[0] - (-target).exp() / (2 * r) * h.expm1() * (eps_1 - eps)]


def _stage(noise: _Noise, h: Tensor, r: float) -> Tensor:
    def place() -> tuple[Tensor, Tensor]:
        time = noise.time + r * h
        return noise.x - (-time).exp() * (r * h).expm1() * noise(), time

    return noise.at(r, place)


def _third(noise: _Noise, target: Tensor, r_1: float = 1 / 3, r_2: float = 2 / 3) -> list[Tensor]:
    """Results of second and third order; the second-order one shares its stage."""
    h = target - noise.time
    eps = noise()
    eps_1 = _stage(noise, h, r_1)

    def place() -> tuple[Tensor, Tensor]:
        time = noise.time + r_2 * h
        sigma = (-time).exp()
        bend = sigma * (r_2 / r_1) * ((r_2 * h).expm1() / (r_2 * h) - 1) * (eps_1 - eps)
        return noise.x - sigma * (r_2 * h).expm1() * eps - bend, time

    eps_2 = noise.at(r_2, place)
    third = _first(noise, target)[0] - (-target).exp() / r_2 * (h.expm1() / h - 1) * (eps_2 - eps)
    return [_second(noise, target, r_1)[-1], third]


_STEPS: dict[int, Callable[[_Noise, Tensor], list[Tensor]]] = {1: _first, 2: _second, 3: _third}


@dataclass
class _StepSize:
    """PID controller of the step size (Soderlind 2003), as in torchode and k-diffusion."""

    h: float
    weights: tuple[float, float, float]
    accept_safety: float
    errors: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, h: float, power: float, p: float, i: float, d: float, accept_safety: float) -> "_StepSize":
        """`power`: the error falls with h to this power."""
        return cls(h, ((p + i + d) / power, -(p + 2 * d) / power, d / power), accept_safety)

    def propose(self, error: float) -> bool:
        """Take in the error of a tried step, set the next size; whether the step may be kept."""
        inverse = 1 / (error + 1e-8)
        if not self.errors:
            self.errors = [inverse] * 3
        self.errors[0] = inverse
        factor = math.prod(e**w for e, w in zip(self.errors, self.weights, strict=True))
        factor = 1 + math.atan(factor - 1)
        accepted = factor >= self.accept_safety
        if accepted:
            self.errors = [self.errors[0], self.errors[0], self.errors[1]]
        self.h *= factor
        return accepted


def dpm_adaptive(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    order: int = 3,
    rtol: float = 0.05,
    atol: float = 0.0078,
    h_init: float = 0.05,
    pcoeff: float = 0.0,
    icoeff: float = 1.0,
    dcoeff: float = 0.0,
    accept_safety: float = 0.81,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Tensor:
    """DPM-Solver-12 or -23 with error control from the first to the last positive sigma; ignores the sigmas between.

    Raises ValueError for an order other than 2 or 3, RuntimeError when the step size does not settle.
    """
    if order not in (2, 3):
        raise ValueError(f"order must be 2 or 3, got {order}")
    if not _has_span(sigmas):
        return euler(run, x, sigmas)
    draw = run.gaussian(x)
    time, end = _time_range(sigmas)
    # With noise added the error falls with h to the power 1.5 only.
    size = _StepSize.of(abs(h_init), 1.5 if eta else order, pcoeff, icoeff, dcoeff, accept_safety)
    previous = x
    for step in range(_MAX_ATTEMPTS):
        if time >= end - _TIME_TOLERANCE:
            return x
        target = torch.minimum(end, time + size.h)
        down, up = (target, None) if eta == 0 else _ancestral_time(time, target, end, eta)
        noise = _Noise(run, x, time)
        run.report(step, x - (-time).exp() * noise(), x)
        low, high = _STEPS[order](noise, down)
        if size.propose(_error(low, high, previous, rtol, atol)):
            previous = low
            x = high if up is None else high + up * s_noise * draw((-time).exp(), (-target).exp())
            time = target
    raise RuntimeError("dpm_adaptive did not reach its end; the step size shrinks without bound")


def _ancestral_time(time: Tensor, target: Tensor, end: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """The time to step to before noise brings the run back to `target`, and how much noise that is."""
    down, _ = ancestral_step((-time).exp(), (-target).exp(), eta)
    shortened = torch.minimum(end, -down.log())
    return shortened, ((-2 * target).exp() - (-2 * shortened).exp()).sqrt()


def _error(low: Tensor, high: Tensor, previous: Tensor, rtol: float, atol: float) -> float:
    """Root mean square of the difference, in units of the tolerance."""
    delta = torch.maximum(torch.as_tensor(atol), rtol * torch.maximum(low.abs(), previous.abs()))
    return float(torch.linalg.norm((low - high) / delta) / low.numel() ** 0.5)
