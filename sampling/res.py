"""Exponential multistep (RES) and gradient-estimation samplers, each also with CFG++."""

from torch import Tensor

from sampling.loop import SamplerRun, ancestral_step, slope


def res_multistep(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 0.0,
    s_noise: float = 1.0,
    cfg_pp: bool = False,
) -> Tensor:
    """Second-order exponential multistep, "Refined Exponential Solver": Zhang et al. (2023), arXiv 2308.02157.

    `eta` > 0 makes it ancestral. With `cfg_pp` the multistep extrapolates the unconditional estimate (CFG++).
    """
    draw = run.gaussian(x)
    previous: Tensor | None = None
    previous_down = sigmas[0]
    for i in range(len(sigmas) - 1):
        denoised, base = run.predict_with_uncond(x, sigmas[i]) if cfg_pp else _twice(run.predict(x, sigmas[i]))
        run.report(i, denoised, x)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        if previous is None or down == 0:
            x = denoised + slope(x, sigmas[i], base) * down
        else:
            h = sigmas[i].log() - down.log()
            # Where the previous estimate lies, in units of this step; ancestral runs start again from `previous_down`.
            c_2 = (previous_down.log() - sigmas[i - 1].log()) / h
            phi_1 = (-h).expm1() / -h
            phi_2 = (phi_1 - 1) / -h
            b_2 = (phi_2 / c_2).nan_to_num(nan=0.0)
            b_1 = (phi_1 - phi_2 / c_2).nan_to_num(nan=0.0)
            x = (-h).exp() * (x + (denoised - base)) + h * (b_1 * base + b_2 * previous)
        if eta > 0 and s_noise > 0 and sigmas[i + 1] > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
        previous, previous_down = base, down
    return x


def _twice(estimate: Tensor) -> tuple[Tensor, Tensor]:
    return estimate, estimate


def gradient_estimation(
    run: SamplerRun, x: Tensor, sigmas: Tensor, *, gamma: float = 2.0, cfg_pp: bool = False
) -> Tensor:
    """Euler along an extrapolated slope; Permenter and Yuan (2023), arXiv 2306.04848."""
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised, base = run.predict_with_uncond(x, sigmas[i]) if cfg_pp else _twice(run.predict(x, sigmas[i]))
        run.report(i, denoised, x)
        d = slope(x, sigmas[i], base)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        dt = sigmas[i + 1] - sigmas[i]
        x = denoised + d * sigmas[i + 1]
        if previous is not None:
            x = x + (gamma - 1) * (d - previous) * dt
        previous = d
    return x
