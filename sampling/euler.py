"""First-order samplers: Euler, its ancestral form, and their CFG++ variants."""

from torch import Tensor

from sampling.loop import SamplerRun, ancestral_step, slope


def euler(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Euler steps of the probability-flow ODE; Karras et al. (2022), algorithm 2 without churn. Equals DDIM."""
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        x = x + slope(x, sigmas[i], denoised) * (sigmas[i + 1] - sigmas[i])
    return x


def euler_ancestral(run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """Euler step down, then fresh noise up to the next sigma (k-diffusion `sample_euler_ancestral`)."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        if down == 0:
            x = denoised
            continue
        x = x + slope(x, sigmas[i], denoised) * (down - sigmas[i])
        x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x


def euler_ancestral_cfg_pp(
    run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0
) -> Tensor:
    """Ancestral steps from the guided estimate along the unconditional noise; CFG++ of Chung et al. (2024)."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised, uncond = run.predict_with_uncond(x, sigmas[i])
        run.report(i, denoised, x)
        if sigmas[i + 1] == 0:
            x = denoised
            continue
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        x = denoised + slope(x, sigmas[i], uncond) * down
        if eta > 0 and s_noise > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x


def euler_cfg_pp(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Deterministic CFG++; Chung et al. (2024)."""
    return euler_ancestral_cfg_pp(run, x, sigmas, eta=0.0, s_noise=0.0)
