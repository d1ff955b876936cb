"""DPM-Solver++ without a Brownian path: 2S ancestral, 2M, each also with CFG++ (Lu et al. 2022, arXiv 2211.01095)."""

from torch import Tensor

from sampling.loop import SamplerRun, ancestral_step, slope


def _exponential_step(x: Tensor, denoised: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
    """Exact step for a constant denoised estimate: x * t/s + denoised * (1 - t/s) for sigmas s and t."""
    h = sigma.log() - target.log()
    return (target / sigma) * x - (-h).expm1() * denoised


def dpmpp_2s_ancestral(run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """DPM-Solver++(2S) with r = 1/2 down to the ancestral level, then noise (k-diffusion)."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        if down == 0:
            x = x + slope(x, sigmas[i], denoised) * (down - sigmas[i])
        else:
            middle = sigmas[i].log().lerp(down.log(), 0.5).exp()
            x_2 = _exponential_step(x, denoised, sigmas[i], middle)
            x = _exponential_step(x, run.predict(x_2, middle), sigmas[i], down)
        if eta > 0 and s_noise > 0 and sigmas[i + 1] > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x


def dpmpp_2s_ancestral_cfg_pp(
    run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0
) -> Tensor:
    """DPM-Solver++(2S) ancestral with CFG++: x is first moved by guided minus unconditional (Chung et al. 2024).

    The final move pairs the first guided estimate with the unconditional one of the stage between, as in ComfyUI.
    """
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised, uncond = run.predict_with_uncond(x, sigmas[i])
        run.report(i, denoised, x)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        if down == 0:
            x = denoised + slope(x, sigmas[i], uncond) * down
        else:
            middle = sigmas[i].log().lerp(down.log(), 0.5).exp()
            x_2 = _exponential_step(x + (denoised - uncond), denoised, sigmas[i], middle)
            denoised_2, uncond = run.predict_with_uncond(x_2, middle)
            x = _exponential_step(x + (denoised - uncond), denoised_2, sigmas[i], down)
        if eta > 0 and s_noise > 0 and sigmas[i + 1] > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x


def dpmpp_2m(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M), multistep of second order (k-diffusion `sample_dpmpp_2m`)."""
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        estimate = denoised
        if previous is not None and sigmas[i + 1] != 0:
            ratio = (sigmas[i - 1] / sigmas[i]).log() / (sigmas[i] / sigmas[i + 1]).log()
            estimate = (1 + 1 / (2 * ratio)) * denoised - (1 / (2 * ratio)) * previous
        x = _exponential_step(x, estimate, sigmas[i], sigmas[i + 1])
        previous = denoised
    return x


def dpmpp_2m_cfg_pp(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """DPM-Solver++(2M) with CFG++: lands on the guided estimate, extrapolates along the unconditional one."""
    previous: Tensor | None = None
    for i in range(len(sigmas) - 1):
        denoised, uncond = run.predict_with_uncond(x, sigmas[i])
        run.report(i, denoised, x)
        shrink = sigmas[i + 1] / sigmas[i]  # exp(-h)
        correction = -shrink * uncond
        if previous is not None and sigmas[i + 1] != 0:
            ratio = (sigmas[i - 1] / sigmas[i]).log() / (sigmas[i] / sigmas[i + 1]).log()
            correction = correction - (shrink - 1) / (2 * ratio) * (denoised - previous)
        x = denoised + correction + shrink * x
        previous = uncond
    return x
