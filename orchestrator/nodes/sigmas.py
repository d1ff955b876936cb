"""Noise levels of a run (SIGMAS, float32 [steps + 1], falling), split, turned and refined."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, Link, OneOf
from orchestrator.ports import Ctx

if TYPE_CHECKING:
    from torch import Tensor as Sigmas
else:
    Sigmas = object  # annotations are read at import, where torch must not be loaded

_CATEGORY, _MODULE = "sampling/custom_sampling/sigmas", "comfy_extras.nodes_custom_sampler"
_SIGMAS = (("SIGMAS", "SIGMAS"),)
_SPLIT = (("SIGMAS", "high_sigmas"), ("SIGMAS", "low_sigmas"))
_NOT_ZERO = 0.0001
"""A run cannot start from 0; a flipped schedule starts here instead."""
MAX_SIGMAS = 100_000

SigmasIn = Annotated[Sigmas, Link("SIGMAS")]


@node("SplitSigmas", category=_CATEGORY, python_module=_MODULE, outputs=_SPLIT)
def split_sigmas(ctx: Ctx, sigmas: SigmasIn, step: Annotated[int, Int(min=0, max=10000)] = 0) -> tuple[Sigmas, Sigmas]:
    """The levels up to a step, and those from it on; both have the level between."""
    return sigmas[: step + 1], sigmas[step:]


@node("SplitSigmasDenoise", category=_CATEGORY, python_module=_MODULE, outputs=_SPLIT)
def split_sigmas_denoise(
    ctx: Ctx, sigmas: SigmasIn, denoise: Annotated[float, Float(min=0.0, max=1.0, step=0.01)] = 1.0
) -> tuple[Sigmas, Sigmas]:
    """Split so that the second part has a share of the steps; with a share of 0 the first part is empty."""
    kept = round(max(len(sigmas) - 1, 0) * denoise)
    return sigmas[: -kept if kept else 0], sigmas[-(kept + 1) :]


@node("FlipSigmas", category=_CATEGORY, python_module=_MODULE, outputs=_SIGMAS)
def flip_sigmas(ctx: Ctx, sigmas: SigmasIn) -> tuple[Sigmas]:
    """The levels rising, from picture to noise; a 0 at their start is made a little more."""
    flipped = sigmas.flip(0)
    if len(flipped) and flipped[0] == 0:
        flipped[0] = _NOT_ZERO
    return (flipped,)


@node("SetFirstSigma", category=_CATEGORY, python_module=_MODULE, outputs=_SIGMAS)
def set_first_sigma(
    ctx: Ctx, sigmas: SigmasIn,
    sigma: Annotated[float, Float(min=0.0, max=20000.0, step=0.001, round=False)] = 136.0,
) -> tuple[Sigmas]:  # fmt: skip
    """The levels with another first one."""
    if not len(sigmas):
        raise InvalidRequest("there are no sigmas whose first could be set", reason="NO_SIGMAS")
    changed = sigmas.clone()
    changed[0] = sigma
    return (changed,)


@node("ExtendIntermediateSigmas", category=_CATEGORY, python_module=_MODULE, outputs=_SIGMAS)
def extend_intermediate_sigmas(
    ctx: Ctx, sigmas: SigmasIn, steps: Annotated[int, Int(default=2, min=1, max=100)],
    start_at_sigma: Annotated[float, Float(default=-1.0, min=-1.0, max=20000.0, step=0.01, round=False)],
    end_at_sigma: Annotated[float, Float(default=12.0, min=0.0, max=20000.0, step=0.01, round=False)],
    spacing: Annotated[str, OneOf(("linear", "cosine", "sine"))],
) -> tuple[Sigmas]:  # fmt: skip
    """Every step that starts between two levels becomes `steps` steps; a negative start is no limit."""
    import torch

    if len(sigmas) * steps > MAX_SIGMAS:
        raise InvalidRequest(
            "these would be too many sigmas", reason="SIGMAS", count=len(sigmas) * steps, limit=MAX_SIGMAS
        )
    highest = math.inf if start_at_sigma < 0 else start_at_sigma
    shares = _SPACINGS[spacing](torch.linspace(0, 1, steps + 1)[1:-1])
    levels = [sigmas[:1]]
    for here, there in pairwise(sigmas):
        if end_at_sigma <= here <= highest:
            levels.append(here + shares * (there - here))
        levels.append(there[None])
    return (torch.cat(levels).float(),)


_SPACINGS = {
    "linear": lambda share: share,
    "cosine": lambda share: (share * math.pi / 2).sin(),
    "sine": lambda share: 1 - (share * math.pi / 2).cos(),
}
"""How far between two levels, by how far along the new steps."""
