"""Schedules against numbers with which the reference pictures were reproduced."""

import json
from pathlib import Path

import pytest
import torch

from sampling.names import SAMPLER_NAMES, SCHEDULER_NAMES
from sampling.schedule import SCHEDULERS, continuous_edm, discrete, rescale_zero_terminal_snr, sigmas_for

GOLDEN = json.loads((Path(__file__).parent / "schedules.json").read_text())


@pytest.mark.parametrize("case", GOLDEN["sigmas"], ids=lambda case: f"{case['scheduler']}-{case['steps']}")
def test_sigmas_match_the_verified_ones(case: dict[str, object]) -> None:
    sigmas = SCHEDULERS[str(case["scheduler"])](discrete(), int(str(case["steps"])))
    assert sigmas.dtype == torch.float32
    assert sigmas.tolist() == pytest.approx(case["sigmas"], rel=2e-6, abs=1e-7)


def test_registry_holds_exactly_the_names_offered() -> None:
    assert tuple(SCHEDULERS) == SCHEDULER_NAMES


@pytest.mark.parametrize("name", SCHEDULER_NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 50])
def test_schedules_fall_to_zero_within_the_table(name: str, steps: int) -> None:
    sigmas = SCHEDULERS[name](discrete(), steps)
    assert sigmas[-1] == 0
    assert (sigmas[:-1] > sigmas[1:]).all()
    assert sigmas[0] <= discrete().sigma_max * (1 + 1e-5)
    if name not in ("ddim_uniform", "beta"):
        assert len(sigmas) == steps + 1


def test_ddim_uniform_may_be_longer_than_asked() -> None:
    assert len(SCHEDULERS["ddim_uniform"](discrete(), 30)) == 32


def sigmas_of(steps: int = 6, **options: object) -> torch.Tensor:
    return sigmas_for(discrete(), "normal", steps, **{"sampler": "euler", **options})  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_some_samplers_drop_the_step_before_the_last(sampler: str) -> None:
    sigmas = sigmas_of(sampler=sampler)
    assert len(sigmas) == 7
    longer = SCHEDULERS["normal"](discrete(), 7)
    if sampler in ("dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"):
        assert sigmas.tolist() == [*longer[:-2].tolist(), 0.0]
    else:
        assert torch.equal(sigmas, SCHEDULERS["normal"](discrete(), 6))


def test_denoise_takes_the_end_of_a_longer_schedule() -> None:
    assert torch.equal(sigmas_of(6, denoise=0.5), SCHEDULERS["normal"](discrete(), 12)[-7:])
    assert torch.equal(sigmas_of(5, denoise=0.35), SCHEDULERS["normal"](discrete(), 14)[-6:])
    assert torch.equal(sigmas_of(6, denoise=0.99995), sigmas_of(6))


def test_no_denoise_is_no_step() -> None:
    assert len(sigmas_of(denoise=0.0)) == 0


def test_start_and_end_cut_by_step() -> None:
    whole = sigmas_of(5)
    assert torch.equal(sigmas_of(5, start=0, end=2), whole[:3])
    assert torch.equal(sigmas_of(5, start=2, end=10_000), whole[2:])
    assert torch.equal(sigmas_of(5, start=1, end=4), whole[1:5])


def test_full_denoise_ends_an_early_end_at_zero() -> None:
    whole = sigmas_of(5)
    assert sigmas_of(5, start=0, end=3, force_full_denoise=True).tolist() == [*whole[:3].tolist(), 0.0]
    assert torch.equal(sigmas_of(5, end=5, force_full_denoise=True), whole)


def test_start_behind_the_end_is_no_step() -> None:
    assert len(sigmas_of(5, start=5)) == 0
    assert len(sigmas_of(5, start=3, end=3)) == 0


def test_unknown_scheduler_and_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown scheduler 'nope'"):
        sigmas_for(discrete(), "nope", 5, sampler="euler")
    with pytest.raises(ValueError, match="at least 1"):
        sigmas_of(0)


def test_percent_to_sigma_matches_the_recording() -> None:
    model = discrete()
    assert model.percent_to_sigma(0.0) == 999999999.9
    assert model.percent_to_sigma(0.3) == pytest.approx(3.325068950653076, rel=1e-6)
    assert model.percent_to_sigma(1.0) == 0.0
    assert model.sigma_max == pytest.approx(14.614641189575195, rel=1e-6)
    assert model.sigma_min == pytest.approx(0.029167158529162407, rel=1e-6)


def test_timesteps_invert_sigmas() -> None:
    model = discrete()
    assert torch.equal(model.timestep(model.sigmas), torch.arange(1000.0))
    assert model.timestep(torch.tensor([1e9, 1e-9])).tolist() == [999.0, 0.0]
    assert float(model.sigma(torch.tensor(-5.0))) == pytest.approx(model.sigma_min, rel=1e-6)
    middle = model.sigma(torch.tensor(10.5))
    assert float(middle) == pytest.approx(float((model.sigmas[10] * model.sigmas[11]).sqrt()), rel=1e-5)


def test_halfway_timesteps_round_as_recorded() -> None:
    """The logarithm table comes from float64: three steps of a zero-SNR schedule tell the network 499, not 500."""
    model = discrete("v", zero_terminal_snr=True)
    sigmas = SCHEDULERS["normal"](model, 3)
    assert model.timestep(sigmas[:-1]).tolist() == [999.0, 499.0, 0.0]
    assert discrete().timestep(SCHEDULERS["normal"](discrete(), 3)[:-1]).tolist() == [999.0, 500.0, 0.0]


@pytest.mark.parametrize("prediction", ["eps", "v", "x0", "edm"])
def test_perfect_output_gives_back_the_clean_latent(prediction: str) -> None:
    model = discrete(prediction)  # type: ignore[arg-type]
    clean, noise = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)), torch.ones(2, 3, 4, 4)
    sigma = torch.tensor([0.5, 7.0])
    level = sigma.reshape(2, 1, 1, 1)
    x = clean + level * noise
    root = (1 + level**2).sqrt()
    output = {"eps": noise, "v": (noise - level * clean) / root, "x0": clean, "edm": (level * clean - noise) / root}
    torch.testing.assert_close(model.calculate_denoised(sigma, output[prediction], x), clean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.calculate_input(sigma, x), x / root)


def test_distilled_table_keeps_every_twentieth_timestep() -> None:
    model = discrete("lcm", distilled_timesteps=50)
    assert len(model.sigmas) == 50
    assert model.timestep(model.sigmas[[0, 1, 49]]).tolist() == [19.0, 39.0, 999.0]
    assert torch.equal(model.sigmas, discrete().sigmas[19::20])


def test_lcm_keeps_x_where_there_is_no_noise_and_the_estimate_where_there_is_much() -> None:
    model = discrete("lcm", distilled_timesteps=50)
    x, output = torch.full((1, 1, 2, 2), 3.0), torch.ones(1, 1, 2, 2)
    sigma = model.sigmas[-1:]
    torch.testing.assert_close(model.calculate_denoised(sigma, output, x), x - sigma, rtol=1e-4, atol=1e-4)


def test_zero_terminal_snr_keeps_the_clean_end_and_drowns_the_other() -> None:
    table = discrete().sigmas
    rescaled = rescale_zero_terminal_snr(table.double())
    assert float(rescaled[0]) == pytest.approx(float(table[0]), rel=1e-5)
    assert float(rescaled[-1]) == pytest.approx(4518.76, rel=1e-3)
    assert (rescaled[1:] > rescaled[:-1]).all()


def test_continuous_edm_tells_a_quarter_of_log_sigma() -> None:
    model = continuous_edm("v", 0.002, 80.0)
    sigma = torch.tensor([1.0, 80.0])
    assert model.timestep(sigma).tolist() == pytest.approx([0.0, 1.0955], abs=1e-4)
    torch.testing.assert_close(model.sigma(model.timestep(sigma)), sigma)
    assert model.percent_to_sigma(0.5) == pytest.approx((0.002 * 80.0) ** 0.5, rel=1e-5)


def test_unknown_beta_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="not known"):
        discrete(beta_schedule="cosine")  # type: ignore[arg-type]
