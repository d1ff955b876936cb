"""Cutting, turning, stitching, padding and sizes."""

from __future__ import annotations

import pytest
import torch

from kit.errors import InvalidRequest
from orchestrator.nodes import transform as nodes
from tests.unit.orchestrator.nodes.fakes import context


def counted(height: int, width: int, channels: int = 3) -> torch.Tensor:
    """A picture whose red channel is row * 10 + column."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return (rows * 10 + columns)[None, :, :, None].repeat(1, 1, 1, channels)


def red(image: torch.Tensor) -> list[list[float]]:
    return image[0, ..., 0].tolist()


def test_crop_keeps_what_is_inside_and_at_least_the_last_pixel() -> None:
    (inside,) = nodes.image_crop(context(), counted(4, 5), 2, 3, 3, 1)
    assert red(inside) == [[13, 14], [23, 24], [33, 34]]
    (over,) = nodes.image_crop(context(), counted(4, 5), 9, 9, 4, 2)
    assert red(over) == [[24], [34]]
    (outside,) = nodes.image_crop(context(), counted(4, 5), 2, 2, 100, 100)
    assert red(outside) == [[34]]


@pytest.mark.parametrize(
    ("rotation", "wanted"),
    [
        ("none", [[0, 1], [10, 11], [20, 21]]),
        ("90 degrees", [[20, 10, 0], [21, 11, 1]]),
        ("180 degrees", [[21, 20], [11, 10], [1, 0]]),
        ("270 degrees", [[1, 11, 21], [0, 10, 20]]),
    ],
)
def test_rotation_is_clockwise(rotation: str, wanted: list[list[float]]) -> None:
    assert red(nodes.image_rotate(context(), counted(3, 2), rotation)[0]) == wanted


def test_flips() -> None:
    assert red(nodes.image_flip(context(), counted(2, 3), "x-axis: vertically")[0]) == [[10, 11, 12], [0, 1, 2]]
    assert red(nodes.image_flip(context(), counted(2, 3), "y-axis: horizontally")[0]) == [[2, 1, 0], [12, 11, 10]]


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [
        ("right", [[0, 1, 7], [10, 11, 8]]),
        ("left", [[7, 0, 1], [8, 10, 11]]),
        ("down", [[0, 1], [10, 11], [7, 0], [8, 0]]),
        ("up", [[7, 0], [8, 0], [0, 1], [10, 11]]),
    ],
)
def test_stitch_puts_the_second_on_that_side(direction: str, wanted: list[list[float]]) -> None:
    second = torch.tensor([[7.0], [8.0]])[None, ..., None].repeat(1, 1, 1, 3)
    (found,) = nodes.image_stitch(context(), counted(2, 2), direction, False, 0, "black", image2=second)
    assert red(found) == wanted


def test_stitch_without_a_second_gives_the_first() -> None:
    first = counted(2, 2)
    assert nodes.image_stitch(context(), first, "right", True, 8, "red")[0] is first


def test_stitch_centres_the_smaller_on_white_and_spaces_evenly() -> None:
    first, second = torch.zeros(1, 4, 2, 3), torch.full((1, 1, 2, 3), 0.5)
    (found,) = nodes.image_stitch(context(), first, "right", False, 3, "white", image2=second)
    assert found.shape == (1, 4, 2 + 4 + 2, 3)
    assert red(found[:, :, 6:]) == [[1, 1], [0.5, 0.5], [1, 1], [1, 1]]
    assert found[:, :, 2:6].min().item() == 1.0


def test_stitch_borders_are_black_where_the_gap_is_coloured() -> None:
    first, second = torch.ones(1, 4, 2, 4), torch.ones(1, 2, 2, 4)
    (found,) = nodes.image_stitch(context(), first, "right", False, 2, "blue", image2=second)
    assert found[0, 0, 2].tolist() == [0, 0, 1, 1]
    assert found[0, 0, 4].tolist() == [0, 0, 0, 0]


def test_stitch_matches_side_batch_and_alpha() -> None:
    first, second = torch.zeros(3, 4, 4, 4), torch.stack((torch.full((8, 16, 3), 0.2), torch.full((8, 16, 3), 0.6)))
    (found,) = nodes.image_stitch(context(), first, "down", True, 0, "white", image2=second)
    assert found.shape == (3, 4 + 2, 4, 4)
    assert found[:, 5, 0, 0].tolist() == pytest.approx([0.2, 0.6, 0.6], abs=1 / 255)
    assert found[:, 5, 0, 3].tolist() == [1, 1, 1]


def test_stitch_of_extreme_shapes_keeps_a_pixel() -> None:
    (found,) = nodes.image_stitch(
        context(), torch.zeros(1, 1, 4, 3), "right", True, 0, "white", image2=torch.zeros(1, 8, 1, 3)
    )
    assert found.shape == (1, 1, 5, 3)


def test_resize_and_pad_centres() -> None:
    (found,) = nodes.resize_and_pad_image(context(), torch.full((1, 2, 4, 3), 0.5), 8, 9, "white", "area")
    assert found.shape == (1, 9, 8, 3)
    assert found[0, :, 0, 0].tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 1, 1, 1]
    (black,) = nodes.resize_and_pad_image(context(), torch.full((1, 16384, 1, 4), 0.5), 2, 2, "black", "nearest-exact")
    assert black[0, ..., 3].tolist() == [[0.5, 0], [0.5, 0]]


def test_outpainting_borders_are_grey_and_fade() -> None:
    image, mask = nodes.image_pad_for_outpaint(context(), torch.ones(2, 10, 10, 3), 8, 0, 0, 16, 4)
    assert image.shape == (2, 26, 18, 3) and mask.shape == (1, 26, 18)
    assert image[1, 0, 0].tolist() == [0.5] * 3 and image[1, 0, 8].tolist() == [1.0] * 3
    assert mask[0, 0, 7:13].tolist() == [1, 1, 0.5625, 0.25, 0.0625, 0]
    # the far side counts from 1, the near one from 0; the top has no border
    assert mask[0, 5:11, 17].tolist() == [0, 0, 0.0625, 0.25, 0.5625, 1]


@pytest.mark.parametrize("feathering", [0, 5, 16384])
def test_outpainting_without_room_does_not_fade(feathering: int) -> None:
    _, mask = nodes.image_pad_for_outpaint(context(), torch.ones(1, 10, 10, 3), 8, 8, 8, 8, feathering)
    assert mask[0, 8:18, 8:18].max().item() == 0.0 and mask.sum().item() == 26 * 26 - 100


def test_total_pixels_and_largest_side() -> None:
    (found,) = nodes.image_scale_to_total_pixels(context(), torch.rand(1, 64, 16, 3), "area", 0.01)
    assert found.shape == (1, 205, 51, 3)
    for shape, wanted in (((30, 60), (25, 50)), ((60, 30), (50, 25)), ((20, 20), (50, 50)), ((1, 999), (1, 50))):
        (found,) = nodes.image_scale_to_max_dimension(context(), torch.rand(1, *shape, 3), "bilinear", 50)
        assert found.shape == (1, *wanted, 3)


def test_largest_side_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least 1"):
        nodes.image_scale_to_max_dimension(context(), torch.rand(1, 4, 4, 3), "area", 0)


@pytest.mark.parametrize(
    ("shape", "wanted"), [((64, 64), (1024, 1024)), ((90, 160), (752, 1392)), ((1000, 1), (1568, 672))]
)
def test_sizes_of_kontext(shape: tuple[int, int], wanted: tuple[int, int]) -> None:
    picture = torch.zeros(1, *shape, 3)
    picture[:, :, shape[1] // 2 :] = 1.0
    (found,) = nodes.flux_kontext_image_scale(context(), picture)
    assert found.shape == (1, *wanted, 3)
    if shape[1] > 1:  # still half and half: cut evenly on both sides
        assert found[0, wanted[0] // 2, :, 0].mean().item() == pytest.approx(0.5, abs=0.01)
