"""The denoiser of Stable Diffusion 1.x: text-to-image (4 input channels), inpainting (9), InstructPix2Pix (8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_service.archs.sd15_unet.keys import Level, UNetConfig, configure, facts, is_sd1, signature
from model_service.archs.spec import Arch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCH", "Level", "UNetConfig"]


def _build(config: UNetConfig) -> nn.Module:
    from model_service.archs.sd15_unet.net import UNet

    return UNet(config)


def _levels(*widths: int, blocks: int, attention: tuple[int, ...]) -> tuple[Level, ...]:
    return tuple(
        Level(width, (depth,) * blocks, (depth,) * (blocks + 1)) for width, depth in zip(widths, attention, strict=True)
    )


_REAL = _levels(320, 640, 1280, 1280, blocks=2, attention=(1, 1, 1, 0))
_MINI = _levels(320, 640, blocks=1, attention=(1, 1))

ARCH = Arch(
    id="sd15_unet",
    component="unet",
    prefixes=("model.diffusion_model.", "diffusion_model.", ""),
    marks=(
        "input_blocks.0.0.weight",
        "time_embed.0.weight",
        "middle_block.1.proj_in.weight",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "out.2.weight",
    ),
    absent=("label_emb.", "input_hint_block.", "position_net."),
    owns=("",),
    fits=is_sd1,
    configure=configure,
    build=_build,
    tensors=signature,
    facts=facts,
    samples=tuple(UNetConfig(320, channels, 4, 768, levels, 1) for levels in (_REAL, _MINI) for channels in (4, 8, 9)),
)
