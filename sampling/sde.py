"""DPM-Solver++ for the reverse SDE, with Brownian noise: SDE, 2M SDE, 3M SDE (k-diffusion; Lu et al. 2022).

With lambda = ln(alpha/sigma), h the step in lambda and eta the share of noise, all of them integrate
x' = (sigma'/sigma) exp(-eta h) x + alpha' (1 - exp(-(1+eta) h)) denoised + corrections + noise.
"""

from typing import Literal

from torch import Tensor

from sampling.loop import SamplerRun, ancestral_step

SolverType = Literal["midpoint", "heun"]


def dpmpp_sde(
    run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5
) -> Tensor:
    """DPM-Solver++ SDE: a stage at share `r` of the step in lambda, both stages ancestral on one Brownian path."""
    draw = run.brownian(x, sigmas)

    def stage(x: Tensor, estimate: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
        down, up = ancestral_step(sigma, target, eta)
        h = sigma.log() - down.log()
        x = (down / sigma) * x - (-h).expm1() * estimate
        return x + draw(sigma, target) * s_noise * up if eta > 0 and s_noise > 0 else x

    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        middle = sigmas[i].log().lerp(sigmas[i + 1].log(), r).exp()
        denoised_2 = run.predict(stage(x, denoised, sigmas[i], middle), middle)
        weight = 1 / (2 * r)
        x = stage(x, (1 - weight) * denoised + weight * denoised_2, sigmas[i], sigmas[i + 1])
    return x


def dpmpp_2m_sde(
    run: SamplerRun,
    x: Tensor,
    sigmas: Tensor,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver_type: SolverType = "midpoint",
) -> Tensor:
    """DPM-Solver++(2M) SDE; `solver_type` chooses how the finite difference of estimates enters."""
    if solver_type not in ("midpoint", "heun"):
        raise ValueError(f"solver_type must be 'midpoint' or 'heun', not {solver_type!r}")
    draw = run.brownian(x, sigmas)
    previous: Tensor | None = None
    previous_h: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        h = sigmas[i].log() - sigmas[i + 1].log()
        decay = -h * (eta + 1)
        x = sigmas[i + 1] / sigmas[i] * (-h * eta).exp() * x - decay.expm1() * denoised
        if previous is not None and previous_h is not None:
            difference = (denoised - previous) * (h / previous_h)
            if solver_type == "heun":
                x = x + (1 - decay.expm1() / decay) * difference
            else:
                x = x - 0.5 * decay.expm1() * difference
        if eta > 0 and s_noise > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * _noise_level(sigmas[i + 1], h, eta) * s_noise
        previous, previous_h = denoised, h
    return x


def dpmpp_3m_sde(run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++(3M) SDE: divided differences of the last three estimates (k-diffusion `sample_dpmpp_3m_sde`)."""
    draw = run.brownian(x, sigmas)
    past: list[tuple[Tensor, Tensor]] = []  # (denoised, h), latest first
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        h = sigmas[i].log() - sigmas[i + 1].log()
        decay = h * (eta + 1)
        x = sigmas[i + 1] / sigmas[i] * (-h * eta).exp() * x - (-decay).expm1() * denoised
        phi_2 = (-decay).expm1() / decay + 1
        if len(past) >= 2:
            (one, h_1), (two, h_2) = past[0], past[1]
            r_0, r_1 = h_1 / h, h_2 / h
            d_0, d_1 = (denoised - one) / r_0, (one - two) / r_1
            first = d_0 + (d_0 - d_1) * r_0 / (r_0 + r_1)
            second = (d_0 - d_1) / (r_0 + r_1)
            x = x + phi_2 * first - (phi_2 / decay - 0.5) * second
        elif past:
            one, h_1 = past[0]
            x = x + phi_2 * (denoised - one) / (h_1 / h)
        if eta > 0 and s_noise > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * _noise_level(sigmas[i + 1], h, eta) * s_noise
        past = [(denoised, h), *past[:1]]
    return x


def _noise_level(sigma: Tensor, h: Tensor, eta: float) -> Tensor:
    return sigma * (-2 * h * eta).expm1().neg().sqrt()
