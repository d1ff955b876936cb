"""How a network's output, its timestep and the noise level sigma belong together."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v", "x0", "edm", "lcm"]
Clock = Literal["table", "log_sigma"]

# Sigma that stands for "before the first step": larger than any schedule reaches.
BEFORE_START: Final = 999999999.9
# Smallest cumulative alpha left by the zero-terminal-SNR rescaling; exactly zero would make sigma infinite.
ZERO_SNR_ALPHA_BAR: Final = 4.8973451890853435e-08
_LCM_SIGMA_DATA: Final = 0.5
_LCM_TIMESTEP_SCALE: Final = 10.0
_EDM_CLOCK: Final = 0.25  # c_noise = ln(sigma) / 4, Karras et al. (2022), table 1


@dataclass(frozen=True, eq=False)
class ModelSampling:
    """The noise schedule a network was trained on and what its output means.

    `sigmas` is the ascending table (float32, [N]) and `log_sigmas` its logarithm; see `of_table`. With the clock
    "table" a timestep is `index * stride + stride - 1` (stride > 1 for distilled models that know only every
    stride-th timestep); with "log_sigma" it is ln(sigma)/4.
    """

    prediction: Prediction
    sigmas: Tensor
    log_sigmas: Tensor
    sigma_data: float = 1.0
    clock: Clock = "table"
    stride: int = 1
    train_timesteps: int = 1000

    @classmethod
    def of_table(
        cls,
        prediction: Prediction,
        table: Tensor,
        *,
        sigma_data: float = 1.0,
        clock: Clock = "table",
        stride: int = 1,
        train_timesteps: int = 1000,
    ) -> "ModelSampling":
        """From a sigma table in its original precision.

        The logarithm is taken before rounding to float32: a fractional timestep halfway between two entries is as
        near to one as to the other, and the last bit decides which of them the network is told.
        """
        return cls(prediction, table.float(), table.log().float(), sigma_data, clock, stride, train_timesteps)

    @property
    def sigma_min(self) -> float:
        return float(self.sigmas[0])

    @property
    def sigma_max(self) -> float:
        return float(self.sigmas[-1])

    def timestep(self, sigma: Tensor) -> Tensor:
        """Timestep (float32, shape of `sigma`) that the network is told; the nearest table entry in log sigma."""
        if self.clock == "log_sigma":
            return _EDM_CLOCK * sigma.log()
        log_sigmas = self.log_sigmas.to(sigma.device)
        distance = (sigma.reshape(1, -1).log() - log_sigmas[:, None]).abs()  # N B
        index = distance.argmin(dim=0).reshape(sigma.shape)
        return (index * self.stride + (self.stride - 1)).float()

    def sigma(self, timestep: Tensor) -> Tensor:
        """Sigma of a (fractional) timestep, interpolated linearly in log sigma and clamped to the table."""
        if self.clock == "log_sigma":
            return (timestep / _EDM_CLOCK).exp()
        position = ((timestep.float() - (self.stride - 1)) / self.stride).clamp(0, len(self.sigmas) - 1)
        low, high = position.floor().long(), position.ceil().long()
        weight = position.frac()
        log_sigmas = self.log_sigmas.to(timestep.device)
        return ((1 - weight) * log_sigmas[low] + weight * log_sigmas[high]).exp()

    def percent_to_sigma(self, percent: float) -> float:
        """Sigma at a share of the sampling process: 0 is before its start, 1 its end (sigma 0)."""
        if percent <= 0.0:
            return BEFORE_START
        if percent >= 1.0:
            return 0.0
        if self.clock == "log_sigma":
            low, high = math.log(self.sigma_min), math.log(self.sigma_max)
            return math.exp((high - low) * (1.0 - percent) + low)
        return float(self.sigma(torch.tensor((1.0 - percent) * (self.train_timesteps - 1))))

    def calculate_input(self, sigma: Tensor, x: Tensor) -> Tensor:
        """Scale `x` [B,...] at noise levels `sigma` [B] to the variance that the network expects (c_in of EDM)."""
        sigma = _expand(sigma, x)
        return x / (sigma**2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, sigma: Tensor, model_output: Tensor, x: Tensor) -> Tensor:
        """The denoised estimate [B,...] from the raw network output and the unscaled `x`; `sigma` is [B]."""
        return _DENOISED[self.prediction](self, sigma, model_output, x)

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent: Tensor, max_denoise: bool = False) -> Tensor:
        """Latent plus noise at level `sigma` (scalar or [B]); from the largest sigma with variance 1 + sigma^2."""
        sigma = _expand(sigma, noise)
        scale = (1.0 + sigma**2) ** 0.5 if max_denoise else sigma
        return noise * scale + latent

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Undo the scaling of the latent at the end of a run; the identity where the signal is never scaled."""
        del sigma
        return latent

    def half_log_snr(self, sigma: Tensor) -> Tensor:
        """ln(alpha/sigma), the lambda of DPM-Solver; alpha is 1 in these models."""
        return -sigma.log()

    def sigma_of_half_log_snr(self, half_log_snr: Tensor) -> Tensor:
        """Inverse of `half_log_snr`."""
        return (-half_log_snr).exp()


def _expand(sigma: Tensor, x: Tensor) -> Tensor:
    return sigma.reshape(sigma.shape[:1] + (1,) * (x.ndim - 1)) if sigma.ndim else sigma


def _from_eps(model: ModelSampling, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
    return x - output * _expand(sigma, x)


def _from_v(model: ModelSampling, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
    s, d = _expand(sigma, x), model.sigma_data
    return x * d**2 / (s**2 + d**2) - output * s * d / (s**2 + d**2) ** 0.5


def _from_edm(model: ModelSampling, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
    s, d = _expand(sigma, x), model.sigma_data
    return x * d**2 / (s**2 + d**2) + output * s * d / (s**2 + d**2) ** 0.5


def _from_x0(model: ModelSampling, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
    return output


def _from_lcm(model: ModelSampling, sigma: Tensor, output: Tensor, x: Tensor) -> Tensor:
    """Boundary-condition scalings of consistency models (Luo et al. 2023, Latent Consistency Models, section 4.1)."""
    t = _expand(model.timestep(sigma), x) * _LCM_TIMESTEP_SCALE
    c_skip = _LCM_SIGMA_DATA**2 / (t**2 + _LCM_SIGMA_DATA**2)
    c_out = t / (t**2 + _LCM_SIGMA_DATA**2) ** 0.5
    return c_out * _from_eps(model, sigma, output, x) + c_skip * x


_DENOISED: Final[dict[Prediction, Callable[[ModelSampling, Tensor, Tensor, Tensor], Tensor]]] = {
    "eps": _from_eps,
    "v": _from_v,
    "edm": _from_edm,
    "x0": _from_x0,
    "lcm": _from_lcm,
}


def discrete(
    prediction: Prediction = "eps",
    *,
    beta_schedule: Literal["linear"] = "linear",
    linear_start: float = 0.00085,
    linear_end: float = 0.012,
    timesteps: int = 1000,
    zero_terminal_snr: bool = False,
    distilled_timesteps: int | None = None,
) -> ModelSampling:
    """The DDPM schedule of Stable Diffusion: betas linear in their square root ("linear" in its configs).

    `zero_terminal_snr` rescales it as in Lin et al. (2023); `distilled_timesteps` keeps only so many of the table's
    entries, as latent consistency models do (50).
    """
    if beta_schedule != "linear":
        raise ValueError(f"beta schedule {beta_schedule!r} is not known; known: 'linear'")
    betas = torch.linspace(linear_start**0.5, linear_end**0.5, timesteps, dtype=torch.float64) ** 2
    alpha_bars = torch.cumprod(1.0 - betas, dim=0)
    table = ((1 - alpha_bars) / alpha_bars).sqrt()
    if zero_terminal_snr:
        table = rescale_zero_terminal_snr(table)
    stride = 1
    if distilled_timesteps is not None:
        stride = timesteps // distilled_timesteps
        table = table.float()[stride - 1 :: stride]
    return ModelSampling.of_table(prediction, table, stride=stride, train_timesteps=timesteps)


def continuous_edm(
    prediction: Prediction, sigma_min: float, sigma_max: float, sigma_data: float = 1.0
) -> ModelSampling:
    """A continuous schedule (Karras et al. 2022): the network is told ln(sigma)/4; table uniform in log sigma."""
    sigmas = torch.linspace(math.log(sigma_min), math.log(sigma_max), 1000).exp()
    return ModelSampling.of_table(prediction, sigmas, sigma_data=sigma_data, clock="log_sigma")


def rescale_zero_terminal_snr(sigmas: Tensor) -> Tensor:
    """Shift and stretch sqrt(alpha_bar) until the last entry has almost no signal; Lin et al. (2023), algorithm 1."""
    root = (1.0 / (sigmas**2 + 1.0)).sqrt()
    first, last = root[0].clone(), root[-1].clone()
    root = (root - last) * (first / (first - last))
    alpha_bars = root**2
    alpha_bars[-1] = ZERO_SNR_ALPHA_BAR
    return ((1 - alpha_bars) / alpha_bars).sqrt()
