"""Input kinds that several node modules share. Tensors are torch's for the type checker only, so importing is light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from orchestrator.graph.spec import Int, Link
from orchestrator.values.models import Clip, Model, Vae
from orchestrator.values.tensors import Conditioning, Latent

if TYPE_CHECKING:
    from torch import Tensor as Image
    from torch import Tensor as Mask
else:
    Image = Mask = object  # annotations are read at import, where torch must not be loaded

__all__ = [
    "MAX_SIDE", "ClipIn", "ConditioningIn", "Image", "ImageIn", "LatentIn", "Mask", "MaskIn",
    "ModelIn", "Side", "VaeIn",
]  # fmt: skip

MAX_SIDE = 16384
"""Largest side in pixels that any node accepts."""

ModelIn = Annotated[Model, Link("MODEL")]
ClipIn = Annotated[Clip, Link("CLIP")]
VaeIn = Annotated[Vae, Link("VAE")]
LatentIn = Annotated[Latent, Link("LATENT")]
ConditioningIn = Annotated[Conditioning, Link("CONDITIONING")]
ImageIn = Annotated[Image, Link("IMAGE")]
"""float32 [B, H, W, C] in 0..1."""
MaskIn = Annotated[Mask, Link("MASK")]
"""float32 [B, H, W], 1 where it applies."""
Side = Annotated[int, Int(default=512, min=1, max=MAX_SIDE, step=1)]
"""A side in pixels."""
