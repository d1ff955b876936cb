"""Layers, blends, Porter-Duff rules and alpha."""

from __future__ import annotations

import pytest
import torch

from kit.errors import InvalidRequest
from orchestrator.nodes import compositing as nodes
from tests.unit.orchestrator.nodes.fakes import context


def pixel(*values: float) -> torch.Tensor:
    return torch.tensor([[[values]]])


def transparency(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1), value)


def test_pasting_cuts_off_and_leaves_the_input_alone() -> None:
    below = torch.zeros(1, 3, 4, 3)
    (found,) = nodes.image_composite_masked(context(), below, torch.ones(1, 2, 2, 3), 3, 1)
    assert found[0, ..., 0].tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    assert below.max().item() == 0.0
    (outside,) = nodes.image_composite_masked(context(), below, torch.ones(1, 2, 2, 3), 4, 9)
    assert outside.max().item() == 0.0


def test_a_mask_is_stretched_over_the_whole_source_before_cutting() -> None:
    mask = torch.tensor([[[0.0, 1.0]]])
    (found,) = nodes.image_composite_masked(context(), torch.zeros(1, 1, 3, 3), torch.ones(1, 4, 4, 3), 1, 0, mask=mask)
    assert found[0, 0, :, 0].tolist() == [0.0, 0.0, 0.25]  # 0, 0.25, 0.75, 1 over four pixels, two of them inside


def test_resize_source_and_batches_that_start_again() -> None:
    source = torch.stack((torch.full((2, 2, 3), 0.2), torch.full((2, 2, 3), 0.8)))
    (found,) = nodes.image_composite_masked(context(), torch.zeros(3, 4, 6, 3), source, 0, 0, True)
    assert found.shape == (3, 4, 6, 3) and found[:, 3, 5, 0].tolist() == pytest.approx([0.2, 0.8, 0.2])


@pytest.mark.parametrize(("below", "above", "wanted"), [(4, 3, [1.0] * 4), (3, 4, [1.0] * 3)])
def test_missing_alpha_is_opaque_and_superfluous_is_cut(below: int, above: int, wanted: list[float]) -> None:
    (found,) = nodes.image_composite_masked(context(), torch.zeros(1, 1, 1, below), torch.ones(1, 1, 1, above), 0, 0)
    assert found[0, 0, 0].tolist() == wanted


def test_more_than_alpha_cannot_be_missing() -> None:
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.image_composite_masked(context(), torch.zeros(1, 1, 1, 3), torch.ones(1, 1, 1, 1), 0, 0)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("normal", [0.6, 0.3]),
        ("multiply", [0.12, 0.24]),
        ("screen", [0.68, 0.86]),
        ("overlay", [0.24, 0.72]),  # 2ab; 1 - 2(1-a)(1-b)
        # a <= 1/4: a polynomial takes the root's place; b <= 1/2 darkens
        ("soft_light", [0.2 + 0.2 * (((16 * 0.2 - 12) * 0.2 + 4) * 0.2 - 0.2), 0.8 - 0.4 * 0.8 * 0.2]),
        ("difference", [0.0, 0.5]),  # 0.2 - 0.6 is clipped
    ],
)
def test_blend_modes(mode: str, wanted: list[float]) -> None:
    below, above = pixel(0.2, 0.8, 0.8), pixel(0.6, 0.3, 0.3)
    (whole,) = nodes.image_blend(context(), below, above, 1.0, mode)
    assert whole[0, 0, 0, :2].tolist() == pytest.approx(wanted, abs=1e-6)
    (none,) = nodes.image_blend(context(), below, above, 0.0, mode)
    assert none[0, 0, 0].tolist() == pytest.approx([0.2, 0.8, 0.8])


def test_soft_light_above_a_quarter_takes_the_root() -> None:
    (found,) = nodes.image_blend(context(), pixel(0.64, 0.64, 0.64), pixel(1.0, 0.75, 0.5), 1.0, "soft_light")
    assert found[0, 0, 0].tolist() == pytest.approx([0.8, 0.72, 0.64])


def test_blend_fits_the_second_and_mixes_one_with_many() -> None:
    wide = torch.zeros(1, 4, 12, 3)
    wide[:, :, 4:8] = 1.0
    (found,) = nodes.image_blend(context(), torch.zeros(3, 4, 4, 3), wide, 0.5, "normal")
    assert found.shape == (3, 4, 4, 3) and found[:, 2, 2].flatten().tolist() == [0.5] * 9
    with pytest.raises(InvalidRequest, match="batches"):
        nodes.image_blend(context(), torch.zeros(3, 4, 4, 3), torch.zeros(2, 4, 4, 3), 0.5, "normal")


S, A, D, B = 0.8, 0.75, 0.4, 0.5  # colours and coverages; below s and d are times their coverage
s, d = S * A, D * B
UNION = A + B - A * B


@pytest.mark.parametrize(
    ("mode", "colour", "coverage"),
    [
        ("ADD", s + d, 1.0),
        ("CLEAR", 0.0, 0.0),
        ("DARKEN", (1 - B) * s + (1 - A) * d + min(s, d), UNION),
        ("DST", d, B),
        ("DST_ATOP", A * d + (1 - B) * s, A),
        ("DST_IN", A * d, A * B),
        ("DST_OUT", (1 - A) * d, (1 - A) * B),
        ("DST_OVER", d + (1 - B) * s, UNION),
        ("LIGHTEN", (1 - B) * s + (1 - A) * d + max(s, d), UNION),
        ("MULTIPLY", s * d, A * B),
        ("OVERLAY", 2 * s * d, UNION),
        ("SCREEN", s + d - s * d, UNION),
        ("SRC", s, A),
        ("SRC_ATOP", B * s + (1 - A) * d, B),
        ("SRC_IN", B * s, A * B),
        ("SRC_OUT", (1 - B) * s, (1 - B) * A),
        ("SRC_OVER", s + (1 - A) * d, UNION),
        ("XOR", (1 - B) * s + (1 - A) * d, (1 - B) * A + (1 - A) * B),
    ],
)
def test_porter_duff(mode: str, colour: float, coverage: float) -> None:
    image, mask = nodes.porter_duff_image_composite(
        context(), pixel(S, S, S), transparency(1 - A), pixel(D, D, D), transparency(1 - B), mode
    )
    wanted = min(1.0, colour / coverage) if coverage else 0.0
    assert image[0, 0, 0].tolist() == pytest.approx([wanted] * 3, abs=1e-6)
    assert mask.shape == (1, 1, 1) and mask.item() == pytest.approx(1 - coverage)


def test_overlay_of_a_bright_destination() -> None:
    bright, coverage = 0.6, 0.5  # times its coverage: brighter than half of that, darker than half of the source's
    image, _ = nodes.porter_duff_image_composite(
        context(), pixel(S), transparency(1 - A), pixel(bright), transparency(1 - coverage), "OVERLAY"
    )
    wanted = A * coverage - 2 * (coverage - s) * (A - bright * coverage)
    assert image.item() == pytest.approx(wanted / (A + coverage - A * coverage))


def test_porter_duff_takes_the_destinations_size_and_the_smallest_batch() -> None:
    source, small = torch.ones(3, 8, 4, 3), torch.zeros(2, 2, 2)
    image, mask = nodes.porter_duff_image_composite(
        context(), source, small, torch.zeros(4, 4, 6, 3), torch.zeros(5, 64, 64), "SRC_OVER"
    )
    assert image.shape == (2, 4, 6, 3) and mask.shape == (2, 4, 6)
    assert image.min().item() == pytest.approx(1.0) and mask.max().item() == pytest.approx(0.0)


def test_porter_duff_of_unlike_channels_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.porter_duff_image_composite(
            context(), torch.ones(1, 2, 2, 4), torch.zeros(1, 2, 2), torch.ones(1, 2, 2, 3), torch.zeros(1, 2, 2), "DST"
        )


def test_splitting_and_joining() -> None:
    colours, mask = nodes.split_image_with_alpha(context(), pixel(0.1, 0.2, 0.3, 0.75))
    assert colours[0, 0, 0].tolist() == pytest.approx([0.1, 0.2, 0.3]) and mask.tolist() == [[[0.25]]]
    opaque = nodes.split_image_with_alpha(context(), torch.ones(2, 3, 4, 3))[1]
    assert opaque.shape == (2, 3, 4) and opaque.max().item() == 0.0
    (joined,) = nodes.join_image_with_alpha(context(), torch.ones(3, 2, 4, 4), torch.full((2, 1, 1), 0.25))
    assert joined.shape == (2, 2, 4, 4) and joined[1, 1, 3].tolist() == [1, 1, 1, 0.75]
