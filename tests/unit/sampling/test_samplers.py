"""Every sampler against the exact flow and the exact distribution of Gaussian data."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sampling.loop import SamplerRun
from sampling.names import SAMPLER_NAMES
from sampling.sa_solver import tau_within
from sampling.samplers import SAMPLERS, Sampler
from sampling.schedule import discrete, karras

from .gaussian import MEAN, SPREAD, GaussianDenoise, flow, starts

# Deterministic form of each sampler and the order of convergence that its method promises on a smooth schedule.
ORDERS = [
    ("euler", {}, 1),
    ("ddim", {}, 1),
    ("euler_ancestral", {"eta": 0.0}, 1),
    ("euler_cfg_pp", {}, 1),
    ("heun", {}, 2),
    ("heunpp2", {}, 1),
    ("dpm_2", {}, 2),
    ("dpm_2_ancestral", {"eta": 0.0}, 2),
    ("lms", {"order": 1}, 1),
    ("lms", {"order": 2}, 2),
    ("lms", {"order": 4}, 3),
    ("dpm_fast", {}, 2),  # its last step is of first order
    ("dpmpp_2s_ancestral", {"eta": 0.0}, 2),
    ("dpmpp_sde", {"eta": 0.0}, 2),
    ("dpmpp_2m", {}, 2),
    ("dpmpp_2m_cfg_pp", {}, 2),
    ("dpmpp_2m_sde", {"eta": 0.0}, 2),
    ("dpmpp_2m_sde_heun", {"eta": 0.0}, 2),
    ("dpmpp_3m_sde", {"eta": 0.0}, 2),
    ("ipndm", {}, 1),
    ("ipndm_v", {"max_order": 2}, 2),
    ("deis", {}, 2),
    ("res_multistep", {}, 2),
    ("gradient_estimation", {}, 1),
    ("seeds_2", {"eta": 0.0}, 2),
    ("seeds_3", {"eta": 0.0}, 3),
    ("sa_solver", {"tau": tau_within(0.0, 1.0, 0.0)}, 3),
    ("sa_solver", {"tau": tau_within(0.0, 1.0, 0.0), "simple_order_2": True, "predictor_order": 2}, 2),
    ("sa_solver_pece", {"tau": tau_within(0.0, 1.0, 0.0)}, 3),
    ("uni_pc", {}, 2),
    ("uni_pc_bh2", {}, 2),
]


def integrate(sampler: Sampler, x: Tensor, sigmas: Tensor, seed: int = 1) -> Tensor:
    run = SamplerRun(GaussianDenoise(), discrete(), seed, total_steps=len(sigmas) - 1)
    return sampler(run, x, sigmas)


def smooth_sigmas(steps: int) -> Tensor:
    """Float64 and not down to zero, where the last step of most samplers is of first order."""
    ramp = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    return (5.0 ** (1 / 7) + ramp * (0.1 ** (1 / 7) - 5.0 ** (1 / 7))) ** 7


@pytest.mark.parametrize(("name", "options", "order"), ORDERS, ids=lambda value: str(value) if value else "")
def test_deterministic_samplers_converge_with_their_order(name: str, options: dict[str, object], order: int) -> None:
    x = starts((1, 1, 4, 4), 5.0)
    exact = flow(x, 5.0, 0.1)
    errors = []
    for steps in (30, 60):
        result = integrate(SAMPLERS[name].configured(**options), x, smooth_sigmas(steps))
        errors.append(float((result - exact).abs().max()))
    measured = math.log2(errors[0] / errors[1])
    assert measured > order - 0.35, f"{name}: errors {errors}"
    assert errors[1] < {1: 0.1, 2: 0.01, 3: 0.001}[order]


@pytest.mark.parametrize("max_order", [3, 4])
def test_ipndm_v_is_far_more_exact_than_euler(max_order: int) -> None:
    """Its published weights are not exact integrals, so there is no clean order to measure."""
    x = starts((1, 1, 4, 4), 5.0)
    exact = flow(x, 5.0, 0.1)
    sampler = SAMPLERS["ipndm_v"].configured(max_order=max_order)
    error, plain = (
        float((integrate(s, x, smooth_sigmas(60)) - exact).abs().max()) for s in (sampler, SAMPLERS["euler"])
    )
    assert error < plain / 50


# LCM returns estimates, and the midpoint of 2S CFG++ mixes estimates of two levels: neither keeps the distribution.
@pytest.mark.parametrize("name", [n for n in SAMPLER_NAMES if n not in ("lcm", "dpmpp_2s_ancestral_cfg_pp")])
def test_samples_have_the_distribution_of_the_data(name: str) -> None:
    sigmas = karras(100, 0.03, 14.6)
    x = starts((2, 4, 32, 32), 14.6).float()
    result = integrate(SAMPLERS[name], x, sigmas, seed=11)
    assert result.mean() == pytest.approx(MEAN, abs=0.04)
    assert result.std() == pytest.approx(SPREAD, rel=0.05)


def test_lcm_returns_the_estimate_of_a_renoised_estimate() -> None:
    """Its fixed points are estimates, so its spread is that of the last estimate, not of the data."""
    sigmas = torch.tensor([14.6, 2.0, 0.0])
    x = starts((2, 4, 32, 32), 14.6).float()
    result = integrate(SAMPLERS["lcm"], x, sigmas)
    first = SPREAD**2 / (SPREAD**2 + 14.6**2) ** 0.5
    gain = SPREAD**2 / (SPREAD**2 + 2.0**2)
    assert result.std() == pytest.approx(gain * math.hypot(first, 2.0), rel=0.02)
    assert result.mean() == pytest.approx(MEAN, abs=0.02)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("euler_cfg_pp", "euler"),
        ("euler_ancestral_cfg_pp", "euler_ancestral"),
        ("dpmpp_2m_cfg_pp", "dpmpp_2m"),
        ("res_multistep_cfg_pp", "res_multistep"),
        ("res_multistep_ancestral_cfg_pp", "res_multistep_ancestral"),
        ("gradient_estimation_cfg_pp", "gradient_estimation"),
    ],
)
def test_cfg_pp_equals_the_plain_sampler_where_guidance_changes_nothing(name: str, plain: str) -> None:
    x, sigmas = starts((1, 4, 4, 4), 14.6).float(), karras(6, 0.03, 14.6)
    torch.testing.assert_close(
        integrate(SAMPLERS[name], x, sigmas), integrate(SAMPLERS[plain], x, sigmas), rtol=1e-4, atol=1e-5
    )


class _Offset(GaussianDenoise):
    def with_uncond(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        denoised = self(x, sigma)
        return denoised, denoised - 1.0


def test_2s_cfg_pp_pairs_the_first_estimate_with_the_second_unconditional_one() -> None:
    x, sigmas = starts((1, 1, 2, 2), 4.0).float(), torch.tensor([4.0, 1.0])
    result = integrate(SAMPLERS["dpmpp_2s_ancestral_cfg_pp"].configured(eta=0.0), x, sigmas)
    exact = GaussianDenoise()
    one = exact(x, torch.tensor([4.0]))
    two = exact(x / 2 + one / 2, torch.tensor([2.0]))
    torch.testing.assert_close(result, (x + one - two) / 4 + two * 3 / 4)


TRAJECTORIES = json.loads((Path(__file__).parent / "trajectories.json").read_text())


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_six_steps_end_where_the_verified_code_ended(name: str) -> None:
    """Numbers of the code that reproduced the recorded latents; they hold what no formula here says (noise, quirks)."""
    x = starts((1, 4, 2, 2), 14.6).float()
    run = SamplerRun(_Offset(), discrete(), 1, total_steps=6)
    result = SAMPLERS[name](run, x, karras(6, 0.03, 14.6))
    assert result.flatten().tolist() == pytest.approx(TRAJECTORIES["ends"][name], rel=2e-4, abs=2e-4)


def test_cfg_pp_steps_along_the_unconditional_noise() -> None:
    run = SamplerRun(_Offset(), discrete(), 0, total_steps=1)
    x, sigmas = starts((1, 1, 2, 2), 4.0).float(), torch.tensor([4.0, 1.0])
    denoised = GaussianDenoise()(x, torch.tensor([4.0]))
    torch.testing.assert_close(SAMPLERS["euler_cfg_pp"](run, x, sigmas), denoised + (x - (denoised - 1.0)) / 4.0)


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_a_seed_decides_the_result(name: str) -> None:
    x, sigmas = starts((1, 4, 4, 4), 14.6).float(), karras(5, 0.03, 14.6)
    state = torch.get_rng_state()
    one, again, other = (integrate(SAMPLERS[name], x, sigmas, seed) for seed in (3, 3, 4))
    assert torch.equal(one, again)
    stochastic = any(part in name for part in ("ancestral", "sde", "ddpm", "lcm", "seeds", "sa_solver"))
    assert torch.equal(one, other) != stochastic
    assert torch.equal(state, torch.get_rng_state()), "the global generator belongs to others"


@pytest.mark.parametrize("name", SAMPLER_NAMES)
@pytest.mark.parametrize("steps", [1, 2])
def test_shortest_runs_are_finite(name: str, steps: int) -> None:
    x, sigmas = starts((1, 4, 4, 4), 14.6).float(), karras(steps, 0.03, 14.6)
    result = integrate(SAMPLERS[name], x, sigmas)
    assert result.shape == x.shape
    assert result.isfinite().all()
    if steps == 1:  # two steps are too few for the extrapolating methods
        assert result.std() < 2.0, "the noise of the start is gone"


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_each_step_is_reported_once(name: str) -> None:
    seen: list[int] = []

    def record(step: int, total: int, denoised: Tensor, x: Tensor) -> None:
        assert total == 5
        assert denoised.shape == x.shape == (1, 4, 4, 4)
        seen.append(step)

    run = SamplerRun(GaussianDenoise(), discrete(), 1, total_steps=5, callback=record)
    SAMPLERS[name](run, starts((1, 4, 4, 4), 14.6).float(), karras(5, 0.03, 14.6))
    assert seen == list(range(len(seen)))
    if name == "dpm_fast":
        assert len(seen) == 2  # five calls are one step of third and one of second order
    elif name != "dpm_adaptive":
        assert len(seen) == 5


def test_dpm_fast_makes_as_many_calls_as_steps() -> None:
    for steps in (1, 2, 3, 4, 5, 6, 7):
        denoise = GaussianDenoise()
        run = SamplerRun(denoise, discrete(), 1, total_steps=steps)
        SAMPLERS["dpm_fast"](run, starts((1, 1, 2, 2), 14.6).float(), karras(steps, 0.03, 14.6))
        assert len(denoise.sigmas) == steps


@pytest.mark.parametrize("order", [2, 3])
def test_dpm_adaptive_keeps_its_tolerance(order: int) -> None:
    x, sigmas = starts((1, 1, 4, 4), 5.0), torch.tensor([5.0, 1.0, 0.1], dtype=torch.float64)
    exact = flow(x, 5.0, 0.1)
    errors = []
    for tolerance in (0.5, 0.005):
        sampler = SAMPLERS["dpm_adaptive"].configured(order=order, rtol=tolerance, atol=tolerance / 10)
        errors.append(float((integrate(sampler, x, sigmas) - exact).abs().max()))
    assert errors[1] < errors[0]
    assert errors[1] < 0.01


def test_dpm_adaptive_refuses_other_orders_and_rising_sigmas() -> None:
    x = starts((1, 1, 2, 2), 5.0)
    with pytest.raises(ValueError, match="order must be 2 or 3"):
        integrate(SAMPLERS["dpm_adaptive"].configured(order=1), x, torch.tensor([5.0, 0.1]))
    with pytest.raises(ValueError, match="rise"):
        integrate(SAMPLERS["dpm_adaptive"], x, torch.tensor([0.1, 5.0]))


def test_uni_pc_makes_one_call_a_step() -> None:
    denoise = GaussianDenoise()
    run = SamplerRun(denoise, discrete(), 1, total_steps=6)
    sigmas = karras(6, 0.03, 14.6)
    SAMPLERS["uni_pc"](run, starts((1, 1, 2, 2), 14.6).float(), sigmas)
    assert denoise.sigmas == pytest.approx(sigmas[:-1].tolist())


def test_registry_holds_exactly_the_names_offered() -> None:
    assert tuple(SAMPLERS) == SAMPLER_NAMES
    with pytest.raises(TypeError):
        SAMPLERS["euler"] = SAMPLERS["heun"]  # type: ignore[index]
