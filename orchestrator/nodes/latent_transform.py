"""Latents turned, mirrored, cut and joined."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Int, Link, OneOf
from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.links import MAX_SIDE, LatentIn
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

_LATENT = (("LATENT", "LATENT"),)
_ADVANCED, _MODULE = "latent/advanced", "comfy_extras.nodes_latent"
_CELL = 8
_SMALLEST = 8
"""Cells that LatentCrop leaves between its corner and the latent's end."""
_AXES = {"x": -1, "y": -2, "t": -3}
_TURNS = ("none", "90 degrees", "180 degrees", "270 degrees")

LatentLink = Annotated[Latent, Link("LATENT", options={})]
Cropped = Annotated[int, Int(default=512, min=64, max=MAX_SIDE, step=8)]
Offset = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=8)]


@node("LatentRotate", category="latent/transform", display_name="Rotate Latent", outputs=_LATENT)
def latent_rotate(ctx: Ctx, samples: LatentIn, rotation: Annotated[str, OneOf(_TURNS)]) -> tuple[Latent]:
    """A latent turned clockwise."""
    import torch

    turned = torch.rot90(samples.samples, _TURNS.index(rotation), (3, 2))
    return (samples.with_samples(turned),)


@node("LatentFlip", category="latent/transform", display_name="Flip Latent", outputs=_LATENT)
def latent_flip(
    ctx: Ctx, samples: LatentIn, flip_method: Annotated[str, OneOf(("x-axis: vertically", "y-axis: horizontally"))]
) -> tuple[Latent]:
    """A latent mirrored: upside down or left to right."""
    axis = 2 if flip_method.startswith("x") else 3
    return (samples.with_samples(samples.samples.flip(axis)),)


@node("LatentCrop", category="latent/transform", display_name="Crop Latent", outputs=_LATENT)
def latent_crop(ctx: Ctx, samples: LatentIn, width: Cropped, height: Cropped, x: Offset, y: Offset) -> tuple[Latent]:
    """A part of a latent, in pixels; the corner stays 64 pixels away from the far borders."""
    rows, columns = samples.samples.shape[2:4]
    left, top = min(x // _CELL, columns - _SMALLEST), min(y // _CELL, rows - _SMALLEST)
    # A latent smaller than that gives a negative corner, which then counts from its end.
    cut = samples.samples[:, :, top : top + height // _CELL, left : left + width // _CELL]
    return (samples.with_samples(cut),)


@node("LatentConcat", category=_ADVANCED, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_concat(
    ctx: Ctx, samples1: LatentLink, samples2: LatentLink,
    dim: Annotated[str, OneOf(("x", "-x", "y", "-y", "t", "-t"))],
) -> tuple[Latent]:  # fmt: skip
    """Two latents beside each other; with a minus the second comes first. t is time, or the channels of pictures."""
    import torch

    from orchestrator.nodes.latent_fit import fitting
    from sampling.conditioning import fit_batch

    first = samples1.samples
    second = fit_batch(samples2.samples, first.shape[0])
    bounded(2, *first.shape)
    parts = (second, first) if dim.startswith("-") else (first, second)
    with fitting(*parts):
        return (samples1.with_samples(torch.cat(parts, dim=_AXES[dim[-1]])),)


@node("LatentCut", category=_ADVANCED, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_cut(
    ctx: Ctx, samples: LatentLink, dim: Annotated[str, OneOf(("x", "y", "t"))],
    index: Annotated[int, Int(min=-MAX_SIDE, max=MAX_SIDE, step=1)] = 0,
    amount: Annotated[int, Int(min=1, max=MAX_SIDE, step=1)] = 1,
) -> tuple[Latent]:  # fmt: skip
    """`amount` cells from `index` on, which counts from the end if it is negative; both are brought inside."""
    from orchestrator.nodes.latent_fit import fitting

    axis = _AXES[dim]
    size = samples.samples.shape[axis]
    start = min(index, size - 1) if index >= 0 else max(index + size, 0)
    with fitting(samples.samples):
        return (samples.with_samples(samples.samples.narrow(axis, start, min(amount, size - start))),)


@node("TrimVideoLatent", category="latent/video", python_module="comfy_extras.nodes_wan", v3=True, outputs=_LATENT)
def trim_video_latent(
    ctx: Ctx, samples: LatentLink, trim_amount: Annotated[int, Int(min=0, max=99999)] = 0
) -> tuple[Latent]:
    """A film's latent without its first `trim_amount` latent frames."""
    return (samples.with_samples(samples.samples[:, :, trim_amount:]),)
