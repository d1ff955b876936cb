"""What pictures and masks must have in common before a node puts them together. Free of torch at import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kit.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor


def need_channels(image: Tensor, allowed: Sequence[int]) -> None:
    """Raises InvalidRequest (PICTURE_CHANNELS) if `image` [B, H, W, C] has other channels than `allowed`."""
    if image.shape[-1] not in allowed:
        raise InvalidRequest(
            "this node cannot work with so many channels; SplitImageWithAlpha takes transparency off, "
            "JoinImageWithAlpha puts it on",
            reason="PICTURE_CHANNELS", channels=image.shape[-1], possible=" or ".join(map(str, allowed)),
        )  # fmt: skip


def need_same_batch(first: Tensor, second: Tensor) -> None:
    """Raises InvalidRequest (BATCH_SIZE) unless both hold equally many, or one of them a single one, for all."""
    if first.shape[0] != second.shape[0] and 1 not in (first.shape[0], second.shape[0]):
        raise InvalidRequest(
            "these batches do not go together: they need equally many pictures, or one of them a single one",
            reason="BATCH_SIZE", sizes=f"{first.shape[0]} and {second.shape[0]}",
        )  # fmt: skip


def need_same_size(pictures: Sequence[Tensor]) -> None:
    """Raises InvalidRequest (PICTURE_SHAPE) unless all [B, H, W, C] are alike but for B."""
    if len({tuple(picture.shape[1:]) for picture in pictures}) > 1:
        raise InvalidRequest(
            "these pictures are not of one size and kind; ImageScale brings them to one size", reason="PICTURE_SHAPE",
            shapes=", ".join(str(list(picture.shape)) for picture in pictures[:8]),
        )  # fmt: skip


def detached(part: Tensor) -> Tensor:
    """A copy of a part, so that who keeps it (the cache) does not keep the whole."""
    return part.clone()


def repeated(samples: Tensor, count: int) -> Tensor:
    """The first `count` entries of the batch; a shorter one starts again from its beginning."""
    import torch

    size = samples.shape[0]
    if size >= count:
        return samples[:count]
    return samples[torch.arange(count) % size]


def with_channels_of(first: Tensor, second: Tensor) -> Tensor:
    """`second` [B, H, W, C] with the channels of `first`: alpha is cut off, or added as opaque.

    Raises InvalidRequest (PICTURE_CHANNELS) if more than alpha is missing.
    """
    import torch

    missing = first.shape[-1] - second.shape[-1]
    if missing <= 0:
        return second[..., : first.shape[-1]]
    if missing > 1:
        need_channels(second, (first.shape[-1], first.shape[-1] - 1))
    return torch.nn.functional.pad(second, (0, missing), value=1.0)
