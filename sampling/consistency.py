"""Samplers that step between noise levels by the forward process: DDPM and LCM."""

from torch import Tensor

from sampling.loop import SamplerRun


def ddpm(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Ancestral DDPM steps in variance-preserving scaling; Ho et al. (2020), algorithm 2."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        noise = (x - denoised) / sigmas[i]
        alpha_bar, alpha_bar_next = 1 / (sigmas[i] ** 2 + 1), 1 / (sigmas[i + 1] ** 2 + 1)
        alpha = alpha_bar / alpha_bar_next
        x = (x * alpha_bar.sqrt() - (1 - alpha) * noise / (1 - alpha_bar).sqrt()) / alpha.sqrt()
        if sigmas[i + 1] > 0:
            variance = (1 - alpha) * (1 - alpha_bar_next) / (1 - alpha_bar)
            x = (x + variance.sqrt() * draw(sigmas[i], sigmas[i + 1])) / alpha_bar_next.sqrt()
    return x


def lcm(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Multistep consistency sampling: take the estimate, add fresh noise; Song et al. (2023), algorithm 1."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        x = denoised
        if sigmas[i + 1] > 0:
            x = run.model_sampling.noise_scaling(sigmas[i + 1], draw(sigmas[i], sigmas[i + 1]), x)
    return x
