"""Batches of pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kit.errors import InvalidRequest
from orchestrator.nodes import batches as nodes
from tests.unit.orchestrator.nodes.fakes import context


def numbered(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None, None, None].expand(-1, 2, 3, 3)


def numbers(images: torch.Tensor) -> list[float]:
    return images[:, 0, 0, 0].tolist()


def test_rebatching_runs_through_the_whole_list() -> None:
    (found,) = nodes.rebatch_images(context(), [numbered(1, 2, 3), numbered(4, 5)], [2])
    assert [numbers(batch) for batch in found] == [[1, 2], [3, 4], [5]]


def test_rebatching_refuses_unlike_sizes_only_within_a_batch() -> None:
    unlike = [numbered(1), torch.zeros(1, 4, 4, 3)]
    assert [len(batch) for batch in nodes.rebatch_images(context(), unlike, [1])[0]] == [1, 1]
    with pytest.raises(InvalidRequest, match="ImageScale"):
        nodes.rebatch_images(context(), unlike, [2])


def test_repeat_and_take() -> None:
    (many,) = nodes.repeat_image_batch(context(), numbered(1, 2), 3)
    assert numbers(many) == [1, 2, 1, 2, 1, 2]
    assert numbers(nodes.image_from_batch(context(), many, 1, 2)[0]) == [2, 1]
    assert numbers(nodes.image_from_batch(context(), many, 4, 4096)[0]) == [1, 2]
    assert numbers(nodes.image_from_batch(context(), many, 4095, 3)[0]) == [2]


def test_size() -> None:
    said: list[str] = []
    ctx = replace(context(), show_text=said.append)
    assert nodes.get_image_size(ctx, torch.zeros(4, 2, 3, 3), unique_id="7") == (3, 2, 4)
    assert said == ["width: 3, height: 2\n batch size: 4"]


def test_colour_differences() -> None:
    colours = torch.tensor([[[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.5]]]])
    planes = nodes.image_rgb_to_yuv(context(), colours)
    assert all(plane.shape == colours.shape for plane in planes)
    y, u, v = (plane[0, 0, :, 0].tolist() for plane in planes)
    assert y == pytest.approx([0.299, 0.114, 0.5])
    assert u == pytest.approx([0.5 - 0.564 * 0.299, 0.5 + 0.564 * 0.886, 0.5])
    assert v == pytest.approx([0.5 + 0.713 * 0.701, 0.5 - 0.713 * 0.114, 0.5])
    assert nodes.image_yuv_to_rgb(context(), *planes)[0].numpy() == pytest.approx(colours.numpy(), abs=1e-6)


def test_colours_come_from_means_are_clipped_and_must_fit() -> None:
    y = torch.tensor([[[[0.0, 0.0, 0.9]]]])
    half = torch.full((1, 1, 1, 3), 0.5)
    assert nodes.image_yuv_to_rgb(context(), y, half, half)[0].flatten().tolist() == pytest.approx([0.3] * 3)
    assert nodes.image_yuv_to_rgb(context(), y, half, half * 2)[0][0, 0, 0, 0].item() == 1.0
    with pytest.raises(InvalidRequest):
        nodes.image_yuv_to_rgb(context(), y, half, torch.zeros(1, 1, 2, 3))
    with pytest.raises(InvalidRequest):
        nodes.image_yuv_to_rgb(context(), y.repeat(3, 1, 1, 1), half, half.repeat(2, 1, 1, 1))
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.image_rgb_to_yuv(context(), torch.zeros(1, 1, 1, 4))
