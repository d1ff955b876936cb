"""Empty latents of the model families: zeros in the shape that each one starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int
from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.links import MAX_SIDE
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

if TYPE_CHECKING:
    from torch import Tensor

_LATENT = (("LATENT", "LATENT"),)
_CELL, _LARGE_CELL = 8, 32
"""Pixels per latent cell: of most VAEs, and of those that compress more."""
_AUDIO_RATE = 44100

Batch = Annotated[int, Int(min=1, max=4096)]


@node("EmptyHunyuanImageLatent", category="latent", python_module="comfy_extras.nodes_hunyuan", outputs=_LATENT)
def empty_hunyuan_image_latent(
    ctx: Ctx, width: Annotated[int, Int(min=64, max=MAX_SIDE, step=32)] = 2048,
    height: Annotated[int, Int(min=64, max=MAX_SIDE, step=32)] = 2048, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For HunyuanImage 2.1: 64 channels, 32 pixels a cell."""
    return (_zeros(batch_size, 64, height // _LARGE_CELL, width // _LARGE_CELL),)


@node("EmptySD3LatentImage", category="latent/sd3", python_module="comfy_extras.nodes_sd3", v3=True, outputs=_LATENT)
def empty_sd3_latent_image(
    ctx: Ctx, width: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 1024,
    height: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 1024, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For SD3, Flux and others of 16 channels."""
    return (_zeros(batch_size, 16, height // _CELL, width // _CELL),)


@node(
    "EmptyChromaRadianceLatentImage", category="latent/chroma_radiance", v3=True, outputs=_LATENT,
    python_module="comfy_extras.nodes_chroma_radiance",
)  # fmt: skip
def empty_chroma_radiance_latent_image(
    ctx: Ctx, width: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 1024,
    height: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 1024, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For models that work on pixels: three channels, one cell a pixel."""
    return (_zeros(batch_size, 3, height, width),)


@node(
    "StableCascade_EmptyLatentImage", category="latent/stable_cascade", v3=True,
    python_module="comfy_extras.nodes_stable_cascade", outputs=(("LATENT", "stage_c"), ("LATENT", "stage_b")),
)  # fmt: skip
def stable_cascade_empty_latent_image(
    ctx: Ctx, width: Annotated[int, Int(min=256, max=MAX_SIDE, step=8)] = 1024,
    height: Annotated[int, Int(min=256, max=MAX_SIDE, step=8)] = 1024,
    compression: Annotated[int, Int(min=4, max=128, step=1)] = 42, batch_size: Batch = 1,
) -> tuple[Latent, Latent]:  # fmt: skip
    """For both stages of Stable Cascade; `compression` is stage C's pixels a cell."""
    stage_c = _zeros(batch_size, 16, height // compression, width // compression)
    return stage_c, _zeros(batch_size, 4, height // 4, width // 4)


@node("EmptyHunyuanLatentVideo", category="latent/video", python_module="comfy_extras.nodes_hunyuan", outputs=_LATENT)
def empty_hunyuan_latent_video(
    ctx: Ctx, width: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 848,
    height: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 480,
    length: Annotated[int, Int(min=1, max=MAX_SIDE, step=4)] = 25, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For HunyuanVideo and Wan: 16 channels, four frames a latent frame after the first."""
    return (_zeros(batch_size, 16, (length - 1) // 4 + 1, height // _CELL, width // _CELL),)


@node(
    "EmptyMochiLatentVideo", category="latent/video", python_module="comfy_extras.nodes_mochi", v3=True, outputs=_LATENT
)
def empty_mochi_latent_video(
    ctx: Ctx, width: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 848,
    height: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 480,
    length: Annotated[int, Int(min=7, max=MAX_SIDE, step=6)] = 25, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For Mochi: 12 channels, six frames a latent frame after the first."""
    return (_zeros(batch_size, 12, (length - 1) // 6 + 1, height // _CELL, width // _CELL),)


@node(
    "EmptyCosmosLatentVideo", category="latent/video", python_module="comfy_extras.nodes_cosmos", v3=True,
    outputs=_LATENT,
)  # fmt: skip
def empty_cosmos_latent_video(
    ctx: Ctx, width: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 1280,
    height: Annotated[int, Int(min=16, max=MAX_SIDE, step=16)] = 704,
    length: Annotated[int, Int(min=1, max=MAX_SIDE, step=8)] = 121, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For Cosmos: 16 channels, eight frames a latent frame after the first."""
    return (_zeros(batch_size, 16, (length - 1) // 8 + 1, height // _CELL, width // _CELL),)


@node(
    "EmptyLTXVLatentVideo", category="latent/video/ltxv", python_module="comfy_extras.nodes_lt", v3=True,
    outputs=_LATENT,
)  # fmt: skip
def empty_ltxv_latent_video(
    ctx: Ctx, width: Annotated[int, Int(min=64, max=MAX_SIDE, step=32)] = 768,
    height: Annotated[int, Int(min=64, max=MAX_SIDE, step=32)] = 512,
    length: Annotated[int, Int(min=1, max=MAX_SIDE, step=8)] = 97, batch_size: Batch = 1,
) -> tuple[Latent]:  # fmt: skip
    """For LTX-Video: 128 channels, 32 pixels a cell, eight frames a latent frame after the first."""
    return (_zeros(batch_size, 128, (length - 1) // 8 + 1, height // _LARGE_CELL, width // _LARGE_CELL),)


@node(
    "EmptyLatentAudio", category="latent/audio", display_name="Empty Latent Audio",
    python_module="comfy_extras.nodes_audio", outputs=_LATENT,
)  # fmt: skip
def empty_latent_audio(
    ctx: Ctx, seconds: Annotated[float, Float(min=1.0, max=1000.0, step=0.1)] = 47.6, batch_size: Batch = 1
) -> tuple[Latent]:
    """For Stable Audio: 64 channels, 2048 samples (of 44100 a second) a cell, an even number of cells."""
    return (_zeros(batch_size, 64, round(seconds * _AUDIO_RATE / 2048 / 2) * 2),)


@node(
    "EmptyAceStepLatentAudio", category="latent/audio", python_module="comfy_extras.nodes_ace", v3=True,
    outputs=_LATENT,
)  # fmt: skip
def empty_ace_step_latent_audio(
    ctx: Ctx, seconds: Annotated[float, Float(min=1.0, max=1000.0, step=0.1)] = 120.0, batch_size: Batch = 1
) -> tuple[Latent]:
    """For ACE-Step: 8 channels of 16 rows, 4096 samples (of 44100 a second) a cell."""
    return (_zeros(batch_size, 8, 16, int(seconds * _AUDIO_RATE / 512 / 8)),)


@node("EmptyLatentHunyuan3Dv2", category="latent/3d", python_module="comfy_extras.nodes_hunyuan3d", outputs=_LATENT)
def empty_latent_hunyuan3d_v2(
    ctx: Ctx, resolution: Annotated[int, Int(min=1, max=8192)] = 3072, batch_size: Batch = 1
) -> tuple[Latent]:
    """For Hunyuan3D 2: 64 channels of `resolution` tokens."""
    return (_zeros(batch_size, 64, resolution),)


def _zeros(*shape: int) -> Latent:
    import torch

    samples: Tensor = torch.zeros(bounded(*shape))
    return Latent(samples)
