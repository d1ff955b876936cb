"""Composition of conditioning: what the network is asked and how its answers are put together."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from sampling.conditioning import place, with_opposites
from sampling.guidance import Cond, Guided, Hooks, denoiser
from sampling.schedule import discrete

# The network's output is the denoised estimate itself.
MODEL = discrete("x0")
SIGMA = torch.tensor([5.0])


@dataclass
class Network:
    """Answers with the first number of each context; remembers its calls."""

    calls: list[tuple[Tensor, Tensor, Mapping[str, Any]]] = field(default_factory=list)

    def __call__(self, x: Tensor, timestep: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        self.calls.append((x, timestep, inputs))
        return inputs["context"][:, 0, 0].reshape(-1, 1, 1, 1).expand(-1, 4, *x.shape[2:])


def prompt(value: float, tokens: int = 77, **options: Any) -> Cond:
    return Cond(torch.full((1, tokens, 2), value), **options)


def estimate(
    positive: list[Cond], negative: list[Cond], cfg: float = 3.0, size: tuple[int, int] = (8, 8), batch: int = 1
) -> tuple[Tensor, Network]:
    network = Network()
    denoise = denoiser(network, MODEL, positive, negative, cfg, latent_size=size)
    return denoise(torch.zeros(batch, 4, *size), SIGMA.repeat(batch)), network


def test_guidance_extrapolates_from_the_negative_in_one_call() -> None:
    result, network = estimate([prompt(2.0)], [prompt(1.0)], cfg=3.0, batch=2)
    assert torch.equal(result, torch.full((2, 4, 8, 8), 1.0 + (2.0 - 1.0) * 3.0))
    ((x, timestep, inputs),) = network.calls
    assert x.shape == (4, 4, 8, 8)
    assert inputs["context"].shape == (4, 77, 2)
    assert inputs["context"][:, 0, 0].tolist() == [2.0, 2.0, 1.0, 1.0]
    assert torch.equal(timestep, MODEL.timestep(SIGMA.repeat(4)))


def test_x_is_scaled_for_the_network() -> None:
    network = Network()
    denoise = denoiser(network, MODEL, [prompt(1.0)], [], 1.0, latent_size=(8, 8))
    denoise(torch.full((1, 4, 8, 8), 5.0), SIGMA)
    torch.testing.assert_close(network.calls[0][0], torch.full((1, 4, 8, 8), 5.0 / 26**0.5))


def test_cfg_of_one_leaves_the_negative_out_unless_it_is_asked_for() -> None:
    result, network = estimate([prompt(2.0)], [prompt(1.0)], cfg=1.0)
    assert torch.equal(result, torch.full((1, 4, 8, 8), 2.0))
    assert network.calls[0][0].shape[0] == 1
    network = Network()
    denoise = denoiser(network, MODEL, [prompt(2.0)], [prompt(0.5)], 1.0, latent_size=(8, 8))
    denoised, uncond = denoise.with_uncond(torch.zeros(1, 4, 8, 8), SIGMA)
    assert (float(denoised.mean()), float(uncond.mean())) == (2.0, 0.5)


@pytest.mark.parametrize(("lengths", "expected"), [((77, 154), [154]), ((77, 231), [231]), ((77, 385), [77, 385])])
def test_contexts_of_other_lengths_are_repeated_or_run_apart(lengths: tuple[int, int], expected: list[int]) -> None:
    _, network = estimate([prompt(2.0, lengths[0])], [prompt(1.0, lengths[1])])
    assert [inputs["context"].shape[1] for _, _, inputs in network.calls] == expected


def test_repeating_keeps_the_order_of_tokens() -> None:
    tokens = torch.arange(6.0).reshape(1, 3, 2)
    _, network = estimate([Cond(tokens)], [prompt(1.0, 6)])
    assert torch.equal(network.calls[0][2]["context"][0], torch.cat([tokens[0], tokens[0]]))


def test_strengths_weigh_the_mean() -> None:
    result, network = estimate([prompt(1.0), prompt(4.0, strength=2.0)], [prompt(0.0)], cfg=1.0)
    torch.testing.assert_close(result, torch.full((1, 4, 8, 8), (1.0 + 2 * 4.0) / 3))
    assert len(network.calls) == 1


def test_places_without_any_entry_are_zero() -> None:
    result, _ = estimate([prompt(3.0, mask=torch.zeros(8, 8))], [], cfg=1.0)
    assert torch.equal(result, torch.zeros(1, 4, 8, 8))
    assert torch.equal(estimate([], [], cfg=1.0)[0], torch.zeros(1, 4, 8, 8))


def test_masks_are_resized_and_weigh_places() -> None:
    mask = torch.zeros(32, 32)
    mask[:, 16:] = 1.0
    result, _ = estimate([prompt(1.0), prompt(4.0, mask=mask, mask_strength=0.5)], [], cfg=1.0)
    torch.testing.assert_close(result[0, 0, 3], torch.tensor([1.0] * 4 + [2.0] * 4))


def test_a_batch_of_masks_goes_with_the_batch_of_latents() -> None:
    masks = torch.stack([torch.ones(8, 8), torch.zeros(8, 8)])
    result, _ = estimate([prompt(1.0), prompt(3.0, mask=masks)], [], cfg=1.0, batch=3)
    assert result[:, 0, 0, 0].tolist() == [2.0, 1.0, 2.0]


def test_an_area_shows_the_network_its_crop_and_fades_in() -> None:
    area = (16, 16, 0, 8)
    result, network = estimate([prompt(1.0), prompt(4.0, area=area)], [], cfg=1.0, size=(16, 24))
    assert sorted(x.shape[-1] for x, _, _ in network.calls) == [16, 24]
    # Inner border on the left: a ramp over a quarter of the area's 16 columns; the right border is the latent's own.
    ramp = torch.tensor([0.25, 0.5, 0.75, 1.0] + [1.0] * 12)
    torch.testing.assert_close(result[0, 0, 7, 8:], (1 + 4 * ramp) / (1 + ramp))
    torch.testing.assert_close(result[0, 0, :, :8], torch.ones(16, 8))


def test_fading_takes_at_most_eight_rows_at_both_inner_borders() -> None:
    result, _ = estimate([prompt(0.0), prompt(1.0, area=(40, 48, 4, 0))], [], cfg=1.0, size=(48, 48))
    ramp = torch.cat([torch.arange(1, 9) / 8, torch.ones(24), torch.arange(8, 0, -1) / 8])
    torch.testing.assert_close(result[0, 0, 4:44, 20], ramp / (1 + ramp))


def test_shares_of_the_latent_become_areas() -> None:
    (placed,) = place([prompt(1.0, area_share=(0.75, 0.5, 0.25, 0.001))], MODEL, (8, 12))
    assert placed.area == (6, 6, 2, 0)
    (tiny,) = place([prompt(1.0, area_share=(0.01, 0.01, 0.0, 0.0))], MODEL, (8, 12))
    assert tiny.area == (1, 1, 0, 0)


def test_an_area_past_the_border_is_cut() -> None:
    _, network = estimate([prompt(1.0, area=(8, 8, 4, 0))], [], cfg=1.0)
    assert network.calls[0][0].shape == (1, 4, 4, 8)


@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (slice(3, 14), slice(5, 16), (11, 11, 3, 5)),
        (slice(3, 5), slice(5, 6), (8, 8, 3, 5)),
        (slice(0), slice(0), (8, 8, 0, 0)),
    ],
)
def test_mask_bounds_become_the_area(rows: slice, columns: slice, expected: tuple[int, int, int, int]) -> None:
    mask = torch.zeros(1, 16, 16)
    mask[:, rows, columns] = 0.3
    (placed,) = place([prompt(1.0, mask=mask, set_area_to_bounds=True)], MODEL, (16, 16))
    assert placed.area == expected


def test_time_ranges_switch_entries() -> None:
    early, late = prompt(1.0, end_percent=0.4), prompt(2.0, start_percent=0.4)
    denoise = denoiser(Network(), MODEL, [early, late], [], 1.0, latent_size=(8, 8))
    x, border = torch.zeros(1, 4, 8, 8), MODEL.percent_to_sigma(0.4)
    values = [float(denoise(x, torch.tensor([sigma])).mean()) for sigma in (14.6, border * 1.01, border * 0.99, 0.03)]
    assert values == [1.0, 1.0, 2.0, 2.0]


def test_an_area_gets_its_counterpart_in_the_other_group() -> None:
    area = (8, 8, 0, 0)
    positive = [prompt(1.0), prompt(2.0, area=area, strength=0.8)]
    negative = [prompt(3.0, extra={"y": torch.ones(1, 2)})]
    filled = with_opposites([place(conds, MODEL, (16, 16)) for conds in (positive, negative)])
    assert len(filled[0]) == 2
    added = filled[1][1]
    assert added.area == area
    assert added.cond.strength == 0.8
    assert added.cond.cross_attn is negative[0].cross_attn
    assert added.cond.extra is negative[0].extra


def test_the_counterpart_takes_the_smallest_entry_that_covers_the_area() -> None:
    area = (8, 8, 4, 4)
    negative = [
        prompt(1.0),
        prompt(2.0, area=(14, 14, 2, 2)),
        prompt(3.0, area=(12, 12, 0, 0)),
        prompt(4.0, area=(8, 9, 5, 4)),
    ]
    filled = with_opposites([place(conds, MODEL, (16, 16)) for conds in ([prompt(0.0, area=area)], negative)])
    assert [float(entry.cond.cross_attn[0, 0, 0]) for entry in filled[1] if entry.area == area] == [3.0]
    same = with_opposites([place([prompt(0.0, area=area)], MODEL, (16, 16))] * 2)
    assert [len(group) for group in same] == [1, 1]
    alone = with_opposites([place([prompt(0.0, area=area)], MODEL, (16, 16)), []])
    assert alone[1] == []


def test_entries_of_equal_crops_share_a_call() -> None:
    _, network = estimate([prompt(1.0), prompt(2.0, area=(8, 8, 0, 0))], [prompt(3.0)], size=(16, 16))
    assert sorted(tuple(x.shape) for x, _, _ in network.calls) == [(2, 4, 8, 8), (2, 4, 16, 16)]


def test_concat_channels_follow_the_scaled_latent_and_the_crop() -> None:
    channels = torch.arange(5 * 8 * 16, dtype=torch.float32).reshape(1, 5, 8, 16)
    _, network = estimate([prompt(1.0, concat=channels, area=(8, 8, 0, 8))], [], cfg=1.0, size=(8, 16), batch=2)
    x = network.calls[0][0]
    assert x.shape == (2, 9, 8, 8)
    assert torch.equal(x[1, 4:], channels[0, :, :, 8:])


def test_entries_with_and_without_concat_run_apart() -> None:
    _, network = estimate([prompt(1.0, concat=torch.zeros(1, 5, 8, 8))], [prompt(2.0)])
    assert sorted(x.shape[1] for x, _, _ in network.calls) == [4, 9]


def test_extra_tensors_are_batched_and_other_values_handed_on() -> None:
    marker = object()
    one = prompt(1.0, extra={"y": torch.ones(1, 3), "patch": marker})
    two = prompt(2.0, extra={"y": torch.zeros(1, 3), "patch": marker})
    _, network = estimate([one], [two], batch=2)
    ((_, _, inputs),) = network.calls
    assert inputs["y"].tolist() == [[1.0] * 3] * 2 + [[0.0] * 3] * 2
    assert inputs["patch"] is marker
    _, network = estimate([one], [replace(two, extra={"y": torch.zeros(1, 3), "patch": object()})])
    assert len(network.calls) == 2
    _, network = estimate([one], [prompt(2.0)])
    assert len(network.calls) == 2


def test_hooks_run_around_guidance_in_order() -> None:
    def swap(step: Guided) -> tuple[Tensor, Tensor]:
        return step.uncond, step.cond

    def combine(step: Guided) -> Tensor:
        return step.cond * 10 + step.uncond * step.cfg

    def add(step: Guided) -> Tensor:
        return step.denoised + 1

    def double(step: Guided) -> Tensor:
        return step.denoised * 2

    hooks = Hooks(pre_cfg=(swap,), combine=combine, post_cfg=(add, double))
    denoise = denoiser(Network(), MODEL, [prompt(2.0)], [prompt(1.0)], 3.0, latent_size=(8, 8), hooks=hooks)
    assert float(denoise(torch.zeros(1, 4, 8, 8), SIGMA).mean()) == ((1.0 * 10 + 2.0 * 3) + 1) * 2


def test_a_hook_may_need_the_unconditional_estimate_and_ask_the_network_again() -> None:
    network = Network()

    def again(step: Guided) -> Tensor:
        (estimate,) = step.predict([step.positive], step.x, step.sigma)
        return estimate + step.uncond

    hooks = Hooks(post_cfg=(again,), needs_uncond=True)
    denoise = denoiser(network, MODEL, [prompt(2.0)], [prompt(1.0)], 1.0, latent_size=(8, 8), hooks=hooks)
    assert float(denoise(torch.zeros(1, 4, 8, 8), SIGMA).mean()) == 3.0
    assert len(network.calls) == 2
