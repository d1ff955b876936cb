"""Seeded noise: what equals what, and what it leaves alone."""

import pytest
import torch

from sampling.noise import brownian, gaussian, initial_noise

SHAPE = (2, 4, 3, 3)
HIGH, LOW = torch.tensor(2.0), torch.tensor(0.5)


def test_a_run_is_one_draw_of_the_whole_batch() -> None:
    expected = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    assert torch.equal(initial_noise(SHAPE, 7), expected)


def test_batch_index_selects_single_draws() -> None:
    source = torch.Generator().manual_seed(7)
    draws = [torch.randn((1, 4, 3, 3), generator=source) for _ in range(4)]
    assert torch.equal(initial_noise(SHAPE, 7, [3, 1]), torch.cat([draws[3], draws[1]]))
    assert torch.equal(initial_noise(SHAPE, 7, [0, 0]), torch.cat([draws[0], draws[0]]))


def test_batch_index_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="3 entries for a batch of 2"):
        initial_noise(SHAPE, 7, [0, 1, 2])


def test_largest_seed_works_and_wraps() -> None:
    assert initial_noise(SHAPE, 2**64 - 1).isfinite().all()
    assert torch.equal(initial_noise(SHAPE, 2**64), initial_noise(SHAPE, 0))


def test_ancestral_noise_starts_like_the_run() -> None:
    draw = gaussian(torch.zeros(SHAPE), 7)
    assert torch.equal(draw(HIGH, LOW), initial_noise(SHAPE, 7))
    assert not torch.equal(draw(HIGH, LOW), initial_noise(SHAPE, 7))


def test_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    initial_noise(SHAPE, 1)
    gaussian(torch.zeros(SHAPE), 1)(HIGH, LOW)
    brownian(torch.zeros(SHAPE), torch.tensor([2.0, 0.5, 0.0]), 1)(HIGH, LOW)
    assert torch.equal(state, torch.get_rng_state())


def test_brownian_increments_add_up_whatever_the_order_of_questions() -> None:
    x, sigmas = torch.zeros(1, 4, 32, 32), torch.tensor([2.0, 1.0, 0.5, 0.0])
    middle = torch.tensor(1.0)
    one, two = brownian(x, sigmas, 3), brownian(x, sigmas, 3)
    whole = one(HIGH, LOW) * 1.5**0.5
    second = two(middle, LOW) * 0.5**0.5
    first = two(HIGH, middle)
    torch.testing.assert_close(whole, first + second, rtol=1e-4, atol=1e-5)
    assert first.std() == pytest.approx(1.0, rel=0.05)
    assert not torch.equal(first, brownian(x, sigmas, 4)(HIGH, middle))


def test_brownian_path_reads_backwards_with_the_other_sign() -> None:
    draw = brownian(torch.zeros(SHAPE), torch.tensor([2.0, 0.5, 0.0]), 3)
    torch.testing.assert_close(draw(HIGH, LOW), -draw(LOW, HIGH))


def test_brownian_path_takes_its_own_ends_without_a_warning() -> None:
    """torchsde rounds its span to six digits and warns of questions beyond it; warnings are errors here."""
    sigmas = torch.tensor([14.614641189575195, 0.5153906345367432, 0.0])
    assert brownian(torch.zeros(SHAPE), sigmas, 3)(sigmas[0], sigmas[1]).isfinite().all()
