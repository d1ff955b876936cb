"""Latents: empty ones, resized ones, and latent files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, BinaryIO

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, InputFile, Int, NodeOutput, OneOf, Text
from orchestrator.nodes.links import MAX_SIDE, LatentIn
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

_LATENT = (("LATENT", "LATENT"),)
METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
CROPS = ("disabled", "center")
DOWNSCALE = 8
"""Pixels per latent cell that ComfyUI's latent nodes count with."""
_SMALLEST = 64

Sized = Annotated[int, Int(default=512, min=16, max=MAX_SIDE, step=8)]
Method = Annotated[str, OneOf(METHODS)]
Resized = Annotated[int, Int(default=512, min=0, max=MAX_SIDE, step=8)]
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))


@node("EmptyLatentImage", category="latent", display_name="Empty Latent Image", outputs=_LATENT)
def empty_latent_image(
    ctx: Ctx, width: Sized, height: Sized, batch_size: Annotated[int, Int(min=1, max=4096)] = 1
) -> tuple[Latent]:
    """Zeros of four channels, an eighth of the picture's sides (rounded down)."""
    import torch

    return (Latent(torch.zeros(batch_size, 4, height // DOWNSCALE, width // DOWNSCALE)),)


@node("LatentUpscale", category="latent", display_name="Upscale Latent", outputs=_LATENT)
def latent_upscale(
    ctx: Ctx, samples: LatentIn, upscale_method: Method, width: Resized, height: Resized,
    crop: Annotated[str, OneOf(CROPS)],
) -> tuple[Latent]:  # fmt: skip
    """A latent at another size in pixels (at least 64); a side of 0 keeps the aspect ratio, two keep the size."""
    from orchestrator.nodes.resize import resized

    if width == 0 and height == 0:
        return (samples,)
    rows, columns = samples.samples.shape[-2:]
    if width == 0:
        height = max(_SMALLEST, height)
        width = max(_SMALLEST, round(columns * height / rows))
    elif height == 0:
        width = max(_SMALLEST, width)
        height = max(_SMALLEST, round(rows * width / columns))
    else:
        width, height = max(_SMALLEST, width), max(_SMALLEST, height)
    size = width // DOWNSCALE, height // DOWNSCALE
    return (samples.with_samples(resized(samples.samples, *size, upscale_method, crop)),)


@node("LatentUpscaleBy", category="latent", display_name="Upscale Latent By", outputs=_LATENT)
def latent_upscale_by(
    ctx: Ctx, samples: LatentIn, upscale_method: Method,
    scale_by: Annotated[float, Float(default=1.5, min=0.01, max=8.0, step=0.01)],
) -> tuple[Latent]:  # fmt: skip
    """A latent with its sides multiplied."""
    from orchestrator.nodes.resize import resized

    height, width = (max(1, round(side * scale_by)) for side in samples.samples.shape[-2:])
    return (samples.with_samples(resized(samples.samples, width, height, upscale_method)),)


@node("SaveLatent", category="_for_testing", display_name="SaveLatent", output_node=True, hidden=_HIDDEN)
def save_latent(
    ctx: Ctx, samples: LatentIn, filename_prefix: Annotated[str, Text()] = "latents/ComfyUI", *,
    prompt: Mapping[str, object] | None = None, extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """Writes a .latent file (safetensors) with the prompt in its metadata."""
    from orchestrator.nodes.latent_file import encode_latent
    from orchestrator.nodes.picture_file import metadata

    content = encode_latent(samples.samples, metadata(prompt, extra_pnginfo))

    def write(file: BinaryIO) -> None:
        file.write(content)

    stored = ctx.artifacts.save("output", filename_prefix, ".latent", (0, 0), write)
    return NodeOutput(ui={"latents": [dict(stored.as_ui())]})


def _latent_digest(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    name = inputs.get("latent")
    return ctx.artifacts.digest(name) if isinstance(name, str) else None


@node("LoadLatent", category="_for_testing", display_name="LoadLatent", outputs=_LATENT, fingerprint=_latent_digest)
def load_latent(ctx: Ctx, latent: Annotated[str, InputFile("latent")]) -> tuple[Latent]:
    """Reads a .latent file of the input folder; files of the first format were stored scaled."""
    from orchestrator.nodes.latent_file import decode_latent

    return (Latent(decode_latent(ctx.artifacts.input_path(latent))),)
