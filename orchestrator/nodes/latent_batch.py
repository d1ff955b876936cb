"""Batches of latents: parts, repeats, joins, and which noise their entries get."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Int, Link, OneOf, Output
from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.links import LatentIn
from orchestrator.ports import Ctx
from orchestrator.values.tensors import Latent

_LATENT = (("LATENT", "LATENT"),)
_MODULE = "comfy_extras.nodes_latent"
_LAST_INDEX = 2**16
"""Noise is drawn for every entry up to the last one wanted."""
LatentLink = Annotated[Latent, Link("LATENT", options={})]


@node("LatentFromBatch", category="latent/batch", display_name="Latent From Batch", outputs=_LATENT)
def latent_from_batch(
    ctx: Ctx, samples: LatentIn, batch_index: Annotated[int, Int(min=0, max=63)] = 0,
    length: Annotated[int, Int(min=1, max=64)] = 1,
) -> tuple[Latent]:  # fmt: skip
    """Entries of a batch, with the noise they would have had in it."""
    from orchestrator.nodes.latent_fit import masks_of

    batch = samples.samples.shape[0]
    start = min(batch - 1, batch_index)
    chosen = slice(start, min(batch, start + length))
    mask = samples.noise_mask
    if mask is not None and mask.shape[0] > 1:
        mask = masks_of(mask, batch)[chosen]
    return (Latent(samples.samples[chosen], mask, _indices(samples)[chosen]),)


@node("RepeatLatentBatch", category="latent/batch", display_name="Repeat Latent Batch", outputs=_LATENT)
def repeat_latent_batch(ctx: Ctx, samples: LatentIn, amount: Annotated[int, Int(min=1, max=64)] = 1) -> tuple[Latent]:
    """The batch several times; every repeat gets noise of its own."""
    given, mask, indices = samples.samples, samples.noise_mask, samples.batch_index
    bounded(amount, *given.shape)
    if mask is not None and mask.shape[0] > 1:
        bounded(amount, *mask.shape)
        mask = mask.repeat(amount, 1, 1, 1)
    if indices is not None:
        offset = max(indices) - min(indices) + 1
        if max(indices) + (amount - 1) * offset > _LAST_INDEX:
            raise InvalidRequest(
                "the repeats would need noise from too far down the batch", reason="BATCH_INDEX", limit=_LAST_INDEX
            )
        indices = tuple(index + turn * offset for turn in range(amount) for index in indices)
    return (Latent(given.repeat(amount, *(1,) * (given.ndim - 1)), mask, indices),)


@node("LatentBatch", category="latent/batch", python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_batch(ctx: Ctx, samples1: LatentLink, samples2: LatentLink) -> tuple[Latent]:
    """Both batches in one; the second takes the first's sides. The mask is the first's."""
    import torch

    from orchestrator.nodes.latent_fit import fitting, like

    first, second = samples1.samples, samples2.samples
    bounded(first.shape[0] + second.shape[0], *first.shape[1:])
    with fitting(first, second):
        joined = torch.cat((first, like(second, first.shape, repeat=False)))
    return (Latent(joined, samples1.noise_mask, _indices(samples1) + _indices(samples2)),)


@node("LatentBatchSeedBehavior", category="latent/advanced", python_module=_MODULE, v3=True, outputs=_LATENT)
def latent_batch_seed_behavior(
    ctx: Ctx, samples: LatentLink, seed_behavior: Annotated[str, OneOf(("random", "fixed"))] = "fixed"
) -> tuple[Latent]:
    """Whether all entries of a batch get the noise of its first (fixed) or each its own."""
    if seed_behavior == "random":
        return (replace(samples, batch_index=None),)
    first = samples.batch_index[0] if samples.batch_index else 0
    return (replace(samples, batch_index=(first,) * samples.samples.shape[0]),)


@node(
    "RebatchLatents", category="latent/batch", display_name="Rebatch Latents", v3=True, input_is_list=True,
    python_module="comfy_extras.nodes_rebatch", outputs=(Output("LATENT", "LATENT", is_list=True),),
)  # fmt: skip
def rebatch_latents(
    ctx: Ctx, latents: LatentLink, batch_size: Annotated[int, Int(min=1, max=4096)] = 1
) -> tuple[list[Latent]]:
    """The latents of a list in batches of a size; latents of other sides start a new batch."""
    from orchestrator.nodes.rebatch import rebatched

    assert isinstance(latents, list) and isinstance(batch_size, list)  # the engine's way with input_is_list
    return (rebatched(latents, batch_size[0]),)


def _indices(latent: Latent) -> tuple[int, ...]:
    return tuple(range(latent.samples.shape[0])) if latent.batch_index is None else latent.batch_index
