"""Arithmetic on latents. The second takes the first's sides and batch."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Json, Link
from orchestrator.nodes.links import LatentIn
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

if TYPE_CHECKING:
    from torch import Tensor

_LATENT = (("LATENT", "LATENT"),)
_CATEGORY, _MODULE = "latent/advanced", "comfy_extras.nodes_latent"
# Whole limits on the wire; `options` keeps typing's cache from taking the equal Float(min=0.0, max=1.0) for it.
_WHOLE: dict[str, Json] = {"min": 0, "max": 1}

LatentLink = Annotated[Latent, Link("LATENT", options={})]


@node("LatentAdd", category=_CATEGORY, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_add(ctx: Ctx, samples1: LatentLink, samples2: LatentLink) -> tuple[Latent]:
    """The sum of two latents."""
    first, second = _pair(samples1, samples2)
    return (samples1.with_samples(first + second),)


@node("LatentSubtract", category=_CATEGORY, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_subtract(ctx: Ctx, samples1: LatentLink, samples2: LatentLink) -> tuple[Latent]:
    """The first latent less the second."""
    first, second = _pair(samples1, samples2)
    return (samples1.with_samples(first - second),)


@node("LatentMultiply", category=_CATEGORY, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_multiply(
    ctx: Ctx, samples: LatentLink, multiplier: Annotated[float, Float(min=-10.0, max=10.0, step=0.01)] = 1.0
) -> tuple[Latent]:
    """A latent times a number."""
    return (samples.with_samples(samples.samples * multiplier),)


@node("LatentInterpolate", category=_CATEGORY, python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_interpolate(
    ctx: Ctx, samples1: LatentLink, samples2: LatentLink,
    ratio: Annotated[float, Float(min=0.0, max=1.0, step=0.01)] = 1.0,
) -> tuple[Latent]:  # fmt: skip
    """Between two latents: direction and length of every cell's channel vector are mixed apart; 1 is the first."""
    import torch

    first, second = _pair(samples1, samples2)
    length1, length2 = (torch.linalg.vector_norm(each, dim=1, keepdim=True) for each in (first, second))
    direction = (first / length1).nan_to_num() * ratio + (second / length2).nan_to_num() * (1.0 - ratio)
    unit = (direction / torch.linalg.vector_norm(direction, dim=1, keepdim=True)).nan_to_num()
    return (samples1.with_samples(unit * (length1 * ratio + length2 * (1.0 - ratio))),)


@node("LatentBlend", category="_for_testing", display_name="Latent Blend", outputs=_LATENT)
def latent_blend(
    ctx: Ctx, samples1: LatentIn, samples2: LatentIn,
    blend_factor: Annotated[float, Float(min=0, max=1, step=0.01, options=_WHOLE)] = 0.5,
) -> tuple[Latent]:  # fmt: skip
    """A mix of two latents; 1 is the first. The second is brought to the first's sides (bicubic)."""
    from orchestrator.nodes.latent_fit import fitting, scaled

    first, second = samples1.samples, samples2.samples
    with fitting(first, second):
        if first.shape != second.shape:
            second = scaled(second, first.shape[-1], first.shape[-2], "bicubic", "center")
        blended = first * blend_factor + second * (1.0 - blend_factor)
    indices = samples1.batch_index
    if indices is not None and len(indices) == 1:
        indices *= blended.shape[0]
    return (replace(samples1, samples=blended, batch_index=indices),)


def _pair(samples1: Latent, samples2: Latent) -> tuple[Tensor, Tensor]:
    import torch

    from orchestrator.nodes.latent_fit import fitting, like

    first, second = samples1.samples, samples2.samples
    with fitting(first, second):
        second = like(second, first.shape)
        torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]  # torch's gap
    return first, second
