"""UniPC: unified predictor-corrector, data prediction; Zhao et al. (2023), arXiv 2302.04867.

Works on the variance-preserving latent z = alpha x with alpha = 1/sqrt(1+sigma^2); lambda = ln(alpha/std) = -ln(sigma).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

from sampling.loop import SamplerRun

Variant = Literal["bh1", "bh2"]
_MAX_ORDER: Final = 3
_LAST_SIGMA: Final = 0.001  # stands for an end at zero, where lambda has no value


@dataclass(frozen=True)
class _Point:
    """A noise level on the variance-preserving path, with the estimate made there."""

    sigma: Tensor
    denoised: Tensor

    @property
    def half_log_snr(self) -> Tensor:
        return -self.sigma.log()


def uni_pc(run: SamplerRun, x: Tensor, sigmas: Tensor, *, variant: Variant = "bh1") -> Tensor:
    """Multistep UniPC of order up to 3, lower near both ends; `variant` chooses B(h) = h or exp(h)-1.

    The last step has no corrector, so that there are as many model calls as steps.
    """
    steps = len(sigmas) - 1
    if steps < 1:
        return x
    levels = sigmas.clone()
    if levels[-1] == 0:
        levels[-1] = _LAST_SIGMA
    top = max(1, min(_MAX_ORDER, steps - 1))
    z = x * _alpha(levels[0])
    past = [_Point(levels[0], run.predict(x, levels[0]))]
    run.report(0, past[-1].denoised, x)
    for i in range(1, steps + 1):
        order = min(i, top, steps + 1 - i)
        update = _Update.of(past[-order:], levels[i], variant)
        predicted = update.predict(z)
        if i == steps:
            z = predicted
            break
        denoised = run.predict(predicted / _alpha(levels[i]), levels[i])
        z = update.correct(z, denoised)
        run.report(i, denoised, z / _alpha(levels[i]))
        past = [*past, _Point(levels[i], denoised)][-_MAX_ORDER:]
    return z / _alpha(levels[-1])


def uni_pc_bh2(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """UniPC with B(h) = exp(h) - 1."""
    return uni_pc(run, x, sigmas, variant="bh2")


def _alpha(sigma: Tensor) -> Tensor:
    return 1 / (sigma**2 + 1).sqrt()


@dataclass(frozen=True)
class _Update:
    """One step to `target`: the weights of the paper's eqs. 8 and 9, from the estimates of `order` points before."""

    points: Sequence[_Point]
    target: Tensor
    predictor: Tensor  # [order - 1]
    corrector: Tensor  # [order]
    scale: Tensor  # B(h)

    @classmethod
    def of(cls, points: Sequence[_Point], target: Tensor, variant: Variant) -> "_Update":
        here, order = points[-1], len(points)
        h = -target.log() - here.half_log_snr
        ratios = [(point.half_log_snr - here.half_log_snr) / h for point in reversed(points[:-1])]
        rks = torch.stack([*ratios, torch.ones_like(h)])
        scale = -h if variant == "bh1" else (-h).expm1()
        rows, right, phi, factorial = [], [], (-h).expm1() / -h - 1, 1
        for k in range(1, order + 1):
            rows.append(rks ** (k - 1))
            right.append(phi * factorial / scale)
            factorial *= k + 1
            phi = phi / -h - 1 / factorial
        matrix, vector = torch.stack(rows), torch.stack(right)
        half = torch.full((1,), 0.5)  # the paper's code takes 1/2 where one unknown is left
        predictor = half[: order - 1] if order < 3 else torch.linalg.solve(matrix[:-1, :-1], vector[:-1])
        corrector = half if order == 1 else torch.linalg.solve(matrix, vector)
        return cls(points, target, predictor, corrector, scale)

    def _base(self, z: Tensor) -> Tensor:
        here = self.points[-1]
        std_ratio = self.target * _alpha(self.target) / (here.sigma * _alpha(here.sigma))
        h_phi_1 = self.target / here.sigma - 1  # expm1(-h)
        return std_ratio * z - _alpha(self.target) * h_phi_1 * here.denoised

    def _differences(self) -> list[Tensor]:
        here = self.points[-1]
        h = -self.target.log() - here.half_log_snr
        return [
            (point.denoised - here.denoised) / ((point.half_log_snr - here.half_log_snr) / h)
            for point in reversed(self.points[:-1])
        ]

    def predict(self, z: Tensor) -> Tensor:
        bend = sum((w * d for w, d in zip(self.predictor, self._differences(), strict=True)), torch.zeros_like(z))
        return self._base(z) - _alpha(self.target) * self.scale * bend

    def correct(self, z: Tensor, denoised: Tensor) -> Tensor:
        differences = [*self._differences(), denoised - self.points[-1].denoised]
        bend = sum((w * d for w, d in zip(self.corrector, differences, strict=True)), torch.zeros_like(z))
        return self._base(z) - _alpha(self.target) * self.scale * bend
