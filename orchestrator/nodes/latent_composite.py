"""Latents laid over each other, and masks of where they are redrawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Int, Link
from orchestrator.nodes.links import MAX_SIDE, LatentIn, Mask
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

_LATENT = (("LATENT", "LATENT"),)
_CELL = 8
Pixels = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=8)]
MaskIn = Annotated[Mask, Link("MASK")]


@node("SetLatentNoiseMask", category="latent/inpaint", display_name="Set Latent Noise Mask", outputs=_LATENT)
def set_latent_noise_mask(ctx: Ctx, samples: LatentIn, mask: MaskIn) -> tuple[Latent]:
    """A latent that samplers redraw only where the mask is 1."""
    return (replace(samples, noise_mask=mask.reshape(-1, 1, *mask.shape[-2:])),)


@node("LatentComposite", category="latent", display_name="Latent Composite", outputs=_LATENT)
def latent_composite(
    ctx: Ctx, samples_to: LatentIn, samples_from: LatentIn, x: Pixels, y: Pixels, feather: Pixels
) -> tuple[Latent]:
    """A latent on another at a place in pixels; `feather` softens those of its edges that are inside."""
    from orchestrator.nodes.latent_layers import laid_over

    place, feathering = (x // _CELL, y // _CELL), feather // _CELL
    return (samples_to.with_samples(laid_over(samples_to.samples, samples_from.samples, place, feathering)),)


@node("LatentCompositeMasked", category="latent", python_module="comfy_extras.nodes_mask", outputs=_LATENT)
def latent_composite_masked(
    ctx: Ctx, destination: LatentIn, source: LatentIn, x: Pixels, y: Pixels,
    resize_source: Annotated[bool, Bool(default=False)], *, mask: MaskIn | None = None,
) -> tuple[Latent]:  # fmt: skip
    """A latent on another where the mask, stretched over it, is 1; resizing makes it as large as the other first."""
    from orchestrator.nodes.latent_layers import masked_over

    place = x // _CELL, y // _CELL
    result = masked_over(destination.samples, source.samples, place, mask, resize_source)
    return (destination.with_samples(result),)
