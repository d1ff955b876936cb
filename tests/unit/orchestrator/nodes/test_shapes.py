"""What several picture nodes share."""

from __future__ import annotations

import torch

from orchestrator.nodes import batches, compositing, masks, shapes, transform
from tests.unit.orchestrator.nodes.fakes import context


def test_parts_do_not_keep_the_whole_alive() -> None:
    image = torch.rand(4, 16, 16, 4)
    parts = (
        *transform.image_crop(context(), image, 2, 2, 1, 1),
        *batches.image_from_batch(context(), image, 1, 1),
        *masks.image_to_mask(context(), image, "green"),
        *masks.crop_mask(context(), image[..., 0], 1, 1, 2, 2),
        *compositing.split_image_with_alpha(context(), image),
    )
    assert [part.untyped_storage().nbytes() - part.nbytes for part in parts] == [0] * 6


def test_a_shorter_batch_starts_again() -> None:
    assert shapes.repeated(torch.arange(3), 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert shapes.repeated(torch.arange(3), 2).tolist() == [0, 1]
