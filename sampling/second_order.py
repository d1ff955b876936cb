"""Single-step samplers of second and third order in sigma: Heun, Heun++, DPM2."""

from torch import Tensor

from sampling.loop import SamplerRun, ancestral_step, slope


def heun(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Trapezoidal steps; Karras et al. (2022), algorithm 1."""
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        d, dt = slope(x, sigmas[i], denoised), sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] != 0:
            d = (d + _slope_after(run, x, d, sigmas[i], sigmas[i + 1])) / 2
        x = x + d * dt
    return x


def _slope_after(run: SamplerRun, x: Tensor, d: Tensor, sigma: Tensor, target: Tensor) -> Tensor:
    """Slope at `target` after one Euler step along `d`."""
    there = x + d * (target - sigma)
    return slope(there, target, run.predict(there, target))


def heunpp2(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Heun with up to two look-ahead slopes, weighted by their sigma: "Heun++" of order 2 and 3."""
    last = sigmas[-1]
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        d, dt = slope(x, sigmas[i], denoised), sigmas[i + 1] - sigmas[i]
        if sigmas[i + 1] == last:
            x = x + d * dt
            continue
        x_2 = x + d * dt
        d_2 = slope(x_2, sigmas[i + 1], run.predict(x_2, sigmas[i + 1]))
        if sigmas[i + 2] == last:
            w_2 = sigmas[i + 1] / (2 * sigmas[0])
            x = x + (d * (1 - w_2) + d_2 * w_2) * dt
            continue
        d_3 = _slope_after(run, x_2, d_2, sigmas[i + 1], sigmas[i + 2])
        w_2, w_3 = sigmas[i + 1] / (3 * sigmas[0]), sigmas[i + 2] / (3 * sigmas[0])
        x = x + (d * (1 - w_2 - w_3) + d_2 * w_2 + d_3 * w_3) * dt
    return x


def dpm_2(run: SamplerRun, x: Tensor, sigmas: Tensor) -> Tensor:
    """Midpoint steps in log sigma (k-diffusion `sample_dpm_2`, after DPM-Solver-2, Lu et al. 2022)."""
    return dpm_2_ancestral(run, x, sigmas, eta=0.0, s_noise=0.0)


def dpm_2_ancestral(run: SamplerRun, x: Tensor, sigmas: Tensor, *, eta: float = 1.0, s_noise: float = 1.0) -> Tensor:
    """Midpoint step down, then fresh noise (k-diffusion `sample_dpm_2_ancestral`)."""
    draw = run.gaussian(x)
    for i in range(len(sigmas) - 1):
        denoised = run.predict(x, sigmas[i])
        run.report(i, denoised, x)
        down, up = ancestral_step(sigmas[i], sigmas[i + 1], eta)
        d = slope(x, sigmas[i], denoised)
        if down == 0:
            x = x + d * (down - sigmas[i])
            continue
        middle = sigmas[i].log().lerp(down.log(), 0.5).exp()
        x = x + _slope_after(run, x, d, sigmas[i], middle) * (down - sigmas[i])
        if eta > 0 and sigmas[i + 1] > 0:
            x = x + draw(sigmas[i], sigmas[i + 1]) * s_noise * up
    return x
