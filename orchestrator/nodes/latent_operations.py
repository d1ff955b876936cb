"""Operations on latents as values, and their use on a latent."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, Link
from orchestrator.ports import Ctx
from orchestrator.values.latent_operation import LatentOperation, Sharpen, Tonemap
from orchestrator.values.tensors import Latent

_CATEGORY, _MODULE = "latent/advanced/operations", "comfy_extras.nodes_latent"
_OPERATION = (("LATENT_OPERATION", "LATENT_OPERATION"),)


@node(
    "LatentApplyOperation", category=_CATEGORY, python_module=_MODULE, v3=True, experimental=True,
    outputs=(("LATENT", "LATENT"),),
)  # fmt: skip
def latent_apply_operation(
    ctx: Ctx, samples: Annotated[Latent, Link("LATENT", options={})],
    operation: Annotated[LatentOperation, Link("LATENT_OPERATION", options={})],
) -> tuple[Latent]:  # fmt: skip
    """A latent after an operation."""
    from orchestrator.nodes.latent_filters import applied

    return (samples.with_samples(applied(operation, samples.samples)),)


@node(
    "LatentOperationTonemapReinhard", category=_CATEGORY, python_module=_MODULE, v3=True, experimental=True,
    outputs=_OPERATION,
)  # fmt: skip
def latent_operation_tonemap_reinhard(
    ctx: Ctx, multiplier: Annotated[float, Float(min=0.0, max=100.0, step=0.01)] = 1.0
) -> tuple[LatentOperation]:
    """Compresses large values by Reinhard's curve; a small multiplier compresses more."""
    return (Tonemap(multiplier),)


@node(
    "LatentOperationSharpen", category=_CATEGORY, python_module=_MODULE, v3=True, experimental=True, outputs=_OPERATION
)
def latent_operation_sharpen(
    ctx: Ctx, sharpen_radius: Annotated[int, Int(min=1, max=31, step=1)] = 9,
    sigma: Annotated[float, Float(min=0.1, max=10.0, step=0.1)] = 1.0,
    alpha: Annotated[float, Float(min=0.0, max=5.0, step=0.01)] = 0.1,
) -> tuple[LatentOperation]:  # fmt: skip
    """Sharpens; the radius is in latent cells."""
    return (Sharpen(sharpen_radius, sigma, alpha),)
