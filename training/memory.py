"""Channels last: the order of memory in which convolutions of these sizes are fastest on a CPU."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def channels_last(net: Net) -> Net:
    """The network, with its convolutions' weights reordered in place."""
    for weight in net.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
    return net


def channels_last_images(images: Tensor) -> Tensor:
    """The same images [B, C, H, W] in that order."""
    return images.contiguous(memory_format=torch.channels_last)
