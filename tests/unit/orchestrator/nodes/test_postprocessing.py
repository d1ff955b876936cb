"""Filters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from kit.errors import InvalidRequest, Stopped
from orchestrator.nodes import postprocessing as nodes
from orchestrator.nodes.edges import largest_along
from tests.unit.orchestrator.nodes.fakes import context


def noise(height: int = 20, width: int = 24, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(5))


def test_blur_of_a_point_is_the_window() -> None:
    point = torch.zeros(1, 5, 5, 3)
    point[0, 2, 2] = 1.0
    (found,) = nodes.image_blur(context(), point, 1, 1.0)
    side = np.exp(-0.5)  # at a distance of one radius, sigma 1
    window = np.array([side, 1, side]) / (1 + 2 * side)
    assert found[0, 1:4, 1:4, 1].numpy() == pytest.approx(np.outer(window, window))
    assert found[0, 0].max().item() == 0.0


def test_blur_mirrors_at_the_border_and_needs_room() -> None:
    picture = torch.tensor([0.0, 0.0, 1.0])[None, None, :, None].repeat(1, 3, 1, 3)
    (found,) = nodes.image_blur(context(), picture, 2, 10.0)
    weights = np.exp(-(np.linspace(-1, 1, 5) ** 2) / 200)
    assert found[0, 1, 0, 0].item() == pytest.approx((weights[0] + weights[4]) / weights.sum(), abs=1e-6)
    for node, more in ((nodes.image_blur, ()), (nodes.image_sharpen, (1.0,))):
        with pytest.raises(InvalidRequest, match="radius"):
            node(context(), torch.zeros(1, 3, 9, 3), 3, 1.0, *more)


def test_sharpening_is_ten_times_the_detail() -> None:
    picture = 0.45 + 0.01 * noise()
    (soft,) = nodes.image_blur(context(), picture, 2, 0.7)
    (found,) = nodes.image_sharpen(context(), picture, 2, 0.7, 0.5)
    assert found.numpy() == pytest.approx((picture + 5 * (picture - soft)).numpy(), abs=1e-5)
    assert nodes.image_sharpen(context(), noise(), 1, 1.0, 5.0)[0].max().item() == 1.0
    assert torch.equal(nodes.image_sharpen(context(), picture, 2, 0.7, 0.0)[0], picture)


@pytest.mark.parametrize("dither", ["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"])
def test_each_picture_gets_its_own_few_colours(dither: str) -> None:
    (found,) = nodes.image_quantize(context(), noise(), 5, dither)
    palettes = [set(map(tuple, picture.reshape(-1, 3).tolist())) for picture in found]
    assert [len(colours) for colours in palettes] == [5, 5] and palettes[0] != palettes[1]
    assert nodes.image_quantize(context(), noise(), 1, dither)[0][0].reshape(-1, 3).unique(dim=0).shape == (1, 3)


@pytest.mark.parametrize(
    ("level", "wanted"), [(0.3, [[0, 0], [1, 0]]), (0.5, [[0, 1], [1, 0]]), (0.7, [[0, 1], [1, 1]])]
)
def test_an_ordered_pattern_of_two_colours(level: float, wanted: list[list[float]]) -> None:
    picture = torch.zeros(1, 40, 40, 3)
    picture[:, 20:] = 1.0
    picture[:, 18:20, :2] = picture[:, 20:22, 4:6] = level
    (found,) = nodes.image_quantize(context(), picture, 2, "bayer-2")
    assert found[0, 18:20, :2, 0].round().tolist() == wanted
    assert torch.equal(found[0, 18:20, :2], found[0, 20:22, 4:6])  # it repeats every two pixels
    (plain,) = nodes.image_quantize(context(), picture, 2, "none")
    assert len(plain[0, 18:20, :2, 0].unique()) == 1


def test_quantizing_takes_three_channels_and_stops() -> None:
    with pytest.raises(InvalidRequest, match="SplitImageWithAlpha"):
        nodes.image_quantize(context(), torch.zeros(1, 2, 2, 4), 8, "none")

    def stop() -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        nodes.image_quantize(replace(context(), check_cancelled=stop), noise(), 8, "none")


@pytest.mark.parametrize("size", [3, 4, 7, 999])
def test_morphology_equals_windows_that_leave_out_the_outside(size: int) -> None:
    picture = noise(13, 11, 1)
    plane = picture[0, ..., 1].numpy()

    def erode(values: np.ndarray) -> np.ndarray:
        return ndimage.minimum_filter(values, size, mode="constant", cval=np.inf)

    def dilate(values: np.ndarray) -> np.ndarray:
        origin = 0 if size % 2 else -1  # an even window is turned around
        return ndimage.maximum_filter(values, size, mode="constant", cval=-np.inf, origin=origin)

    wanted = {
        "erode": erode(plane), "dilate": dilate(plane), "gradient": dilate(plane) - erode(plane),
        "open": dilate(erode(plane)), "close": erode(dilate(plane)),
        "top_hat": plane - dilate(erode(plane)), "bottom_hat": erode(dilate(plane)) - plane,
    }  # fmt: skip
    for operation, values in wanted.items():
        (found,) = nodes.morphology(context(), picture, operation, size)
        assert np.array_equal(found[0, ..., 1].numpy(), values), operation


def test_edges_of_a_square_are_one_closed_thin_line() -> None:
    picture = torch.zeros(1, 20, 20, 3)
    picture[:, 6:14, 6:14] = 1.0
    (found,) = nodes.canny(context(), picture, 0.2, 0.5)
    assert found.shape == (1, 20, 20, 3) and found.unique().tolist() == [0.0, 1.0]
    for line in (found[0, 10, :, 0], found[0, :, 10, 0]):
        near, far = line.nonzero().flatten().tolist()
        assert near in (5, 6) and far in (13, 14)
    outline = ndimage.label(found[0, ..., 0].numpy(), np.ones((3, 3)))
    assert outline[1] == 1
    assert nodes.canny(context(), torch.full((1, 9, 9, 3), 0.5), 0.01, 0.01)[0].max().item() == 0.0


def test_of_two_equally_steep_pixels_the_left_or_upper_is_the_edge() -> None:
    steep = torch.tensor([1.0, 3.0, 3.0, 1.0])
    for eighths, across in ((0, steep[None, None]), (4, steep[None, None]), (2, steep[None, :, None])):
        found = largest_along(across, torch.full(across.shape, eighths))
        assert found.flatten().tolist() == [False, True, False, False]
    flat = torch.full((1, 3, 3), 1e-3)
    assert not largest_along(flat, torch.zeros(1, 3, 3, dtype=torch.long)).any()


def test_weak_edges_stay_only_where_they_touch_strong_ones() -> None:
    picture = torch.zeros(1, 40, 20, 3)
    picture[:, :20, 10:] = torch.linspace(0.1, 0.5, 20)[None, :, None, None]  # an edge that gets stronger downwards
    picture[:, 30:, 10:] = 0.12  # and a weak one apart
    (strong,) = nodes.canny(context(), picture, 0.9, 0.9)
    (both,) = nodes.canny(context(), picture, 0.25, 0.9)
    (weak,) = nodes.canny(context(), picture, 0.25, 0.25)
    assert [found[0, 3, 8:12].max().item() for found in (strong, both, weak)] == [0, 1, 1]
    assert [found[0, 35, 8:12].max().item() for found in (strong, both, weak)] == [0, 0, 1]


def test_edges_refuse_what_cannot_work() -> None:
    with pytest.raises(InvalidRequest, match="low_threshold"):
        nodes.canny(context(), noise(), 0.8, 0.4)
    with pytest.raises(InvalidRequest, match="too small"):
        nodes.canny(context(), noise(2, 9), 0.4, 0.8)
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.canny(context(), torch.zeros(1, 9, 9, 4), 0.4, 0.8)


def test_noise_depends_on_the_seed_and_nothing_else() -> None:
    grey = torch.full((1, 64, 64, 3), 0.5)
    torch.manual_seed(1)
    (found,) = nodes.image_add_noise(context(), grey, 12, 0.1)
    torch.manual_seed(2)
    assert torch.equal(found, nodes.image_add_noise(context(), grey, 12, 0.1)[0])
    assert not torch.equal(found, nodes.image_add_noise(context(), grey, 13, 0.1)[0])
    assert found.std().item() == pytest.approx(0.1, abs=0.005)
    loud = nodes.image_add_noise(context(), grey, 2**64 - 1, 1.0)[0]
    assert (loud.min().item(), loud.max().item()) == (0.0, 1.0)
    expected = torch.randn(grey.shape, generator=torch.Generator().manual_seed(12))
    assert torch.equal(found, (grey + 0.1 * expected).clamp(0, 1))


def test_video_compression_loses_more_at_a_higher_factor_and_makes_sides_even() -> None:
    yy, xx = torch.meshgrid(torch.linspace(0, 1, 49), torch.linspace(0, 1, 63), indexing="ij")
    smooth = torch.stack((yy, xx, 1 - yy), dim=-1)[None].repeat(2, 1, 1, 1)
    smooth[:, 10:20, 10:20] = 1.0
    (fine,) = nodes.ltxv_preprocess(context(), smooth, 1)
    (coarse,) = nodes.ltxv_preprocess(context(), smooth, 51)
    assert fine.shape == coarse.shape == (2, 48, 62, 3)
    errors = [(found - smooth[:, :48, :62]).abs().mean().item() for found in (fine, coarse)]
    assert errors[0] < 0.02 < errors[1]
    assert torch.equal(coarse, nodes.ltxv_preprocess(context(), smooth, 100)[0])
    assert nodes.ltxv_preprocess(context(), smooth, 0)[0] is smooth


def test_video_compression_refuses_what_is_no_frame() -> None:
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.ltxv_preprocess(context(), torch.zeros(1, 8, 8, 4), 35)
    with pytest.raises(InvalidRequest, match="too small"):
        nodes.ltxv_preprocess(context(), torch.zeros(1, 1, 8, 3), 35)
    with pytest.raises(InvalidRequest, match="encoder"):
        nodes.ltxv_preprocess(context(), torch.zeros(1, 2, 20_000, 3), 35)
