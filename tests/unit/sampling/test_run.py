"""One whole run: scaling of the start, masks, callbacks and their exceptions."""

import pytest
import torch
from torch import Tensor

from sampling.inpaint import differential_mask, fitted_mask, inpaint_concat
from sampling.names import SAMPLER_NAMES
from sampling.noise import initial_noise
from sampling.run import sample
from sampling.samplers import SAMPLERS
from sampling.schedule import discrete, sigmas_for

from .gaussian import GaussianDenoise

MODEL = discrete()
SHAPE = (1, 4, 8, 8)
NOISE = initial_noise(SHAPE, 3)
LATENT = initial_noise(SHAPE, 8)


class Recorder(GaussianDenoise):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
        self.shown.append(x.clone())
        return super().__call__(x, sigma)


def sigmas_of(denoise: float = 1.0, steps: int = 4) -> Tensor:
    return sigmas_for(MODEL, "normal", steps, sampler="euler", denoise=denoise)


def test_a_run_from_the_largest_sigma_starts_at_variance_one_plus_sigma_squared() -> None:
    denoise = Recorder()
    sample(denoise, MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas_of(), sampler="euler", seed=3)
    torch.testing.assert_close(denoise.shown[0], LATENT + NOISE * (1 + MODEL.sigmas[-1] ** 2).sqrt())


def test_a_run_from_a_smaller_sigma_adds_noise_of_that_level() -> None:
    denoise, sigmas = Recorder(), sigmas_of(0.5)
    sample(denoise, MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas, sampler="euler", seed=3)
    torch.testing.assert_close(denoise.shown[0], LATENT + NOISE * sigmas[0])


def test_no_sigmas_return_the_latent() -> None:
    result = sample(Recorder(), MODEL, noise=NOISE, latent=LATENT, sigmas=torch.empty(0), sampler="euler", seed=3)
    assert torch.equal(result, LATENT)
    assert result is not LATENT


def test_two_halves_of_a_run_equal_the_whole() -> None:
    parts = {"noise": NOISE, "latent": torch.zeros(SHAPE), "sampler": "euler", "seed": 3}
    whole = sample(GaussianDenoise(), MODEL, sigmas=sigmas_of(), **parts)
    first = sigmas_for(MODEL, "normal", 4, sampler="euler", end=2)
    rest = sigmas_for(MODEL, "normal", 4, sampler="euler", start=2)
    middle = sample(GaussianDenoise(), MODEL, sigmas=first, **parts)
    parts |= {"noise": torch.zeros(SHAPE), "latent": middle}
    torch.testing.assert_close(sample(GaussianDenoise(), MODEL, sigmas=rest, **parts), whole, rtol=1e-4, atol=1e-5)


class Stop(BaseException):
    pass


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_an_exception_of_the_callback_ends_the_run_at_once(name: str) -> None:
    denoise = Recorder()
    calls_when_stopped: list[int] = []

    def stop(step: int, total: int, denoised: Tensor, x: Tensor) -> None:
        if step == 1 or total == 1:
            calls_when_stopped.append(len(denoise.shown))
            raise Stop

    with pytest.raises(Stop):
        sample(
            denoise, MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas_of(steps=6), sampler=name, seed=3, callback=stop
        )
    assert calls_when_stopped == [len(denoise.shown)], "no model call after the exception"


def test_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown sampler 'nope'"):
        sample(Recorder(), MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas_of(), sampler="nope", seed=3)


def test_a_configured_sampler_is_taken_as_it_is() -> None:
    parts = {"noise": NOISE, "latent": LATENT, "sigmas": sigmas_of(), "seed": 3}
    still = sample(Recorder(), MODEL, sampler=SAMPLERS["euler_ancestral"].configured(eta=0.0), **parts)
    torch.testing.assert_close(still, sample(Recorder(), MODEL, sampler="euler", **parts), rtol=1e-4, atol=1e-5)


MASK = torch.zeros(8, 8)
MASK[:, 4:] = 1.0


@pytest.mark.parametrize("name", SAMPLER_NAMES)
def test_masked_places_keep_the_latent(name: str) -> None:
    result = sample(
        Recorder(),
        MODEL,
        noise=NOISE,
        latent=LATENT,
        sigmas=sigmas_of(steps=6),
        sampler=name,
        seed=3,
        noise_mask=MASK,
    )
    # dpm_fast, dpm_adaptive and uni_pc end at a small sigma instead of zero and leave that much noise behind.
    torch.testing.assert_close(result[..., :4], LATENT[..., :4], rtol=1e-3, atol=0.15)
    if name not in ("dpm_fast", "dpm_adaptive", "uni_pc", "uni_pc_bh2"):
        torch.testing.assert_close(result[..., :4], LATENT[..., :4], rtol=1e-4, atol=1e-4)
    assert (result[..., 4:] - LATENT[..., 4:]).abs().mean() > 0.1


def test_the_model_sees_masked_places_noised_to_the_current_sigma() -> None:
    denoise, sigmas = Recorder(), sigmas_of(0.5)
    sample(
        denoise, MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas, sampler="euler", seed=3, noise_mask=MASK[None, None]
    )
    for shown, sigma in zip(denoise.shown, sigmas[:-1], strict=True):
        torch.testing.assert_close(shown[..., :4], (LATENT + NOISE * sigma)[..., :4])


def test_ddim_noises_masked_places_with_another_draw() -> None:
    denoise, sigmas = Recorder(), sigmas_of(0.5)
    sample(denoise, MODEL, noise=NOISE, latent=LATENT, sigmas=sigmas, sampler="ddim", seed=2**64 - 1, noise_mask=MASK)
    expected = LATENT + initial_noise(SHAPE, 0) * sigmas[1]
    torch.testing.assert_close(denoise.shown[1][..., :4], expected[..., :4])


def test_a_soft_mask_blends() -> None:
    denoise = Recorder()
    half = torch.full((8, 8), 0.5)
    parts = {"noise": NOISE, "latent": LATENT, "sigmas": sigmas_of(0.5, steps=1), "sampler": "euler", "seed": 3}
    blended = sample(denoise, MODEL, noise_mask=half, **parts)
    whole = sample(Recorder(), MODEL, **parts)
    torch.testing.assert_close(blended, (whole + LATENT) / 2, rtol=1e-4, atol=1e-4)


def test_masks_of_any_shape_fit_the_latent() -> None:
    big = torch.zeros(64, 64)
    big[:, 32:] = 1
    fitted = fitted_mask(big, (3, 4, 8, 8))
    assert fitted.shape == (3, 4, 8, 8)
    assert torch.equal(fitted[2, 3], MASK)
    several = torch.stack([torch.zeros(8, 8), torch.ones(8, 8)])
    assert fitted_mask(several, (3, 4, 8, 8))[:, 0, 0, 0].tolist() == [0.0, 1.0, 0.0]
    assert fitted_mask(several[:, None], (1, 4, 8, 8)).shape == (1, 4, 8, 8)


def test_differential_mask_lets_places_in_one_after_the_other() -> None:
    sigmas = sigmas_of(steps=4)
    schedule = differential_mask(MODEL, sigmas)
    mask = torch.tensor([[[[0.1, 0.5, 1.0]]]])
    joined = [schedule(sigma[None], mask).flatten().tolist() for sigma in sigmas[:4]]
    assert joined == [[0, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 1]]


def test_inpaint_channels_without_a_mask_redraw_everything_from_grey() -> None:
    channels = inpaint_concat((2, 4, 3, 5))
    assert channels.shape == (2, 5, 3, 5)
    assert channels[1, :, 2, 4].tolist() == pytest.approx([1.0, 0.8223, -0.6876, 0.6364, 0.1380])


def test_inpaint_channels_round_the_mask_and_fit_the_picture() -> None:
    soft = torch.tensor([[0.4, 0.6], [0.0, 1.0]])
    picture = torch.arange(4 * 2 * 2, dtype=torch.float32).reshape(1, 4, 2, 2)
    channels = inpaint_concat((2, 4, 2, 2), soft, picture)
    assert channels[0, 0].tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert torch.equal(channels[:, 1:], picture.repeat(2, 1, 1, 1))
    wide = torch.zeros(1, 4, 2, 6)
    wide[..., 2:4] = 1.0  # the middle third is all that a square shows of it
    assert torch.equal(inpaint_concat((1, 4, 2, 2), soft, wide)[:, 1:], torch.ones(1, 4, 2, 2))
    with pytest.raises(ValueError, match="latent of the masked picture"):
        inpaint_concat((1, 4, 2, 2), soft)
