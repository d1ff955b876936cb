"""Masks: values, borders, shapes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from kit.errors import InvalidRequest, Stopped
from orchestrator.nodes import masks as nodes
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, context


def row(*values: float) -> torch.Tensor:
    return torch.tensor([[values]])


def test_between_masks_and_pictures() -> None:
    (image,) = nodes.mask_to_image(context(), row(0.25, 1.0))
    assert image.tolist() == [[[[0.25] * 3, [1.0] * 3]]]
    picture = torch.tensor([[[[0.1, 0.2, 0.3, 0.4]]]])
    for channel, value in (("red", 0.1), ("green", 0.2), ("blue", 0.3), ("alpha", 0.4)):
        assert nodes.image_to_mask(context(), picture, channel)[0].item() == pytest.approx(value)
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.image_to_mask(context(), picture[..., :3], "alpha")


def test_a_colour_as_mask() -> None:
    picture = torch.tensor([[[[0x11 / 255, 0x22 / 255, 0x33 / 255], [0x11 / 255, 0x22 / 255, 0x34 / 255], [2, -1, 0]]]])
    assert nodes.image_color_to_mask(context(), picture, 0x112233)[0].tolist() == [[[1, 0, 0]]]
    assert nodes.image_color_to_mask(context(), picture, 0xFF0000)[0].tolist() == [[[0, 0, 1]]]


def test_invert_threshold_and_crop() -> None:
    assert nodes.invert_mask(context(), row(0.25, 1.0))[0].tolist() == [[[0.75, 0.0]]]
    assert nodes.threshold_mask(context(), row(0.25, 0.5, 0.75), 0.5)[0].tolist() == [[[0, 0, 1]]]
    mask = torch.arange(12.0).reshape(1, 3, 4)
    assert nodes.crop_mask(context(), mask, 2, 1, 9, 1)[0].tolist() == [[[6, 7]]]
    with pytest.raises(InvalidRequest, match="outside"):
        nodes.crop_mask(context(), mask, 4, 0, 1, 1)


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ("multiply", [0.2, 0.24, 0.54, 0.9]),
        ("add", [0.2, 1.0, 1.0, 0.9]),
        ("subtract", [0.2, 0.0, 0.3, 0.9]),
        ("and", [0.2, 0.0, 1.0, 0.9]),
        ("or", [0.2, 1.0, 1.0, 0.9]),
        ("xor", [0.2, 1.0, 0.0, 0.9]),
    ],
)
def test_composites(operation: str, wanted: list[float]) -> None:
    below = row(0.2, 0.4, 0.9, 0.9)
    (found,) = nodes.mask_composite(context(), below, torch.full((1, 5, 2), 0.6), 1, 0, operation)
    assert found.flatten().tolist() == pytest.approx(wanted)
    assert below.flatten().tolist() == pytest.approx([0.2, 0.4, 0.9, 0.9])


def test_composites_of_batches_and_outside() -> None:
    (many,) = nodes.mask_composite(context(), torch.zeros(1, 2, 2), torch.ones(3, 1, 1), 1, 1, "add")
    assert many.shape == (3, 2, 2) and many.sum().item() == 3.0
    (outside,) = nodes.mask_composite(context(), row(0.5), row(1.0), 7, 7, "add")
    assert outside.tolist() == [[[0.5]]]
    with pytest.raises(InvalidRequest, match="batches"):
        nodes.mask_composite(context(), torch.zeros(2, 2, 2), torch.ones(3, 1, 1), 0, 0, "add")


def test_feathering_weakens_the_first_pixel_from_the_far_side_too() -> None:
    (near,) = nodes.feather_mask(context(), torch.ones(1, 1, 5), 4, 0, 0, 0)
    assert near.flatten().tolist() == [0.25, 0.5, 0.75, 1, 1]
    (far,) = nodes.feather_mask(context(), torch.ones(1, 5, 1), 0, 0, 0, 4)
    assert far.flatten().tolist() == [0.25, 1, 1, 0.75, 0.5]
    (wide,) = nodes.feather_mask(context(), torch.ones(2, 1, 2), 100, 0, 0, 0)
    assert wide[1].flatten().tolist() == [0.5, 1.0]


@pytest.mark.parametrize("expand", [-7, -2, 0, 1, 3, 40])
@pytest.mark.parametrize("tapered", [True, False])
def test_growing_equals_repeated_small_steps(expand: int, tapered: bool) -> None:
    mask = torch.rand(2, 17, 13, generator=torch.Generator().manual_seed(3))
    footprint = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) if tapered else np.ones((3, 3))
    step = ndimage.grey_erosion if expand < 0 else ndimage.grey_dilation
    wanted = mask.numpy()
    for _ in range(abs(expand)):
        wanted = np.stack([step(single, footprint=footprint) for single in wanted])
    (found,) = nodes.grow_mask(context(), mask, expand, tapered)
    assert np.array_equal(found.numpy(), wanted)


def test_growing_stops_when_nothing_changes_any_more_or_when_asked_to() -> None:
    calls: list[None] = []
    ctx = replace(context(), check_cancelled=lambda: calls.append(None))
    (found,) = nodes.grow_mask(ctx, torch.eye(4)[None], 16384, True)
    assert found.min().item() == 1.0 and len(calls) < 10

    def stop() -> None:
        raise Stopped("enough")

    with pytest.raises(Stopped):
        nodes.grow_mask(replace(ctx, check_cancelled=stop), torch.eye(4)[None], 16384, True)


def test_preview_writes_grey_pictures_to_temp(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = nodes.mask_preview(ctx, torch.tensor([[[0.0, 0.5]], [[1.0, 0.25]]]))
    assert result.ui is not None and len(result.ui["images"]) == 2
    assert isinstance(ctx.artifacts, FolderArtifacts)
    assert [area for area, *_ in ctx.artifacts.saved] == ["temp", "temp"]
    assert ctx.artifacts.saved[0][1].startswith("ComfyUI_temp_")
    first = Image.open(tmp_path / result.ui["images"][0]["filename"])  # type: ignore[index,call-overload]  # Json
    assert first.getpixel((1, 0)) == (127, 127, 127)
