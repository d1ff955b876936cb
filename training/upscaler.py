"""A 2x upscaler in ESRGAN's layout (Wang et al. 2018), very small; pictures in 0..1."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.crops import Pool
from training.loop import draws
from training.memory import channels_last, channels_last_images

WIDTH, GROWTH, BLOCKS = 24, 12, 2
_SEED = 71
_CROPS = 16
_RESIDUAL = 0.2


def _conv(width_in: int, width_out: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width_out, 3, padding=1)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees everything before it."""

    def __init__(self) -> None:
        super().__init__()
        for number in range(1, 6):
            width = WIDTH + (number - 1) * GROWTH
            setattr(self, f"conv{number}", nn.Sequential(_conv(width, GROWTH if number < 5 else WIDTH)))

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for number in range(1, 5):
            seen = torch.cat((seen, F.leaky_relu(self.get_submodule(f"conv{number}")(seen), 0.2)), dim=1)
        last: Tensor = self.get_submodule("conv5")(seen)
        return x + _RESIDUAL * last


class DenseInDense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.RDB1, self.RDB2, self.RDB3 = DenseBlock(), DenseBlock(), DenseBlock()

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.RDB3(self.RDB2(self.RDB1(x)))
        return x + _RESIDUAL * inner


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sub = nn.Sequential(*(DenseInDense() for _ in range(BLOCKS)), _conv(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.sub(x)
        return x + inner


class Upscaler(nn.Module):
    """[B, 3, H, W] -> [B, 3, 2H, 2W]."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            _conv(3, WIDTH), Shortcut(), nn.Upsample(scale_factor=2), _conv(WIDTH, WIDTH), nn.LeakyReLU(0.2),
            _conv(WIDTH, WIDTH), nn.LeakyReLU(0.2), _conv(WIDTH, 3),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        shown: Tensor = self.model(x)
        return shown


def new_upscaler() -> Upscaler:
    """Begins as bilinear interpolation: three channels carry the colours past everything else."""
    torch.manual_seed(_SEED)
    net = Upscaler()
    tent = torch.tensor([0.25, 0.5, 0.25])
    centre = torch.tensor([0.0, 1.0, 0.0])
    with torch.no_grad():
        cast("nn.Conv2d", net.get_submodule("model.1.sub.2")).weight.mul_(0.1)
        # After nearest-neighbour doubling, a tent of 1/4, 1/2, 1/4 makes the mean of neighbours 3 to 1: bilinear.
        for name, line in (("0", centre), ("3", tent), ("5", centre), ("7", centre)):
            layer = cast("nn.Conv2d", net.get_submodule(f"model.{name}"))
            assert layer.bias is not None
            layer.bias.zero_()
            layer.weight[:3].zero_()
            if name == "7":
                layer.weight.mul_(0.1)
            for channel in range(3):
                layer.weight[channel, channel] = line[:, None] * line[None]
    return channels_last(net)


def upscaler_loss(net: nn.Module, pool: Pool, step: int) -> Tensor:
    """L1 between the enlarged and the true picture, on crops; pictures are made small by averaging or bicubically."""
    image = pool.crops(_CROPS, 48, draws(_SEED, step)) / 2 + 0.5
    if step % 2:
        small = F.avg_pool2d(image, 2)
    else:
        small = F.interpolate(image, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    shown: Tensor = net(channels_last_images(small))
    return F.l1_loss(shown, image)
