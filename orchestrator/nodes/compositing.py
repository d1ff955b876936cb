"""Pictures laid over each other, and their transparency. Masks are 1 where nothing is to be seen."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Float, Int, Link, OneOf
from orchestrator.nodes.links import MAX_SIDE, Image, ImageIn, Mask, MaskIn
from orchestrator.nodes.shapes import detached, need_channels, need_same_batch, with_channels_of
from orchestrator.ports import Ctx

_MODULE = "comfy_extras.nodes_compositing"
_IMAGE_MASK = (("IMAGE", "IMAGE"), ("MASK", "MASK"))
_BLENDS = ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
_PORTER_DUFF = (
    "ADD", "CLEAR", "DARKEN", "DST", "DST_ATOP", "DST_IN", "DST_OUT", "DST_OVER", "LIGHTEN", "MULTIPLY", "OVERLAY",
    "SCREEN", "SRC", "SRC_ATOP", "SRC_IN", "SRC_OUT", "SRC_OVER", "XOR",
)  # fmt: skip

Offset = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=1)]


@node("ImageCompositeMasked", category="image", display_name="ImageCompositeMasked",
      python_module="comfy_extras.nodes_mask", outputs=(("IMAGE", "IMAGE"),))  # fmt: skip
def image_composite_masked(
    ctx: Ctx, destination: ImageIn, source: ImageIn, x: Offset, y: Offset,
    resize_source: Annotated[bool, Bool()] = False, *, mask: Annotated[Mask, Link("MASK")] | None = None,
) -> tuple[Image]:  # fmt: skip
    """`source` on `destination` with its corner at x, y, where the mask (fitted to the source) says; what sticks out
    is cut off. `resize_source` first gives it the destination's size.
    """
    from orchestrator.nodes.layers import pasted

    return (pasted(destination, with_channels_of(destination, source), x, y, resize_source, mask),)


@node("ImageBlend", category="image/postprocessing", python_module="comfy_extras.nodes_post_processing", v3=True,
      outputs=(("IMAGE", "IMAGE"),))  # fmt: skip
def image_blend(
    ctx: Ctx, image1: ImageIn, image2: ImageIn,
    blend_factor: Annotated[float, Float(default=0.5, min=0.0, max=1.0, step=0.01)],
    blend_mode: Annotated[str, OneOf(_BLENDS)],
) -> tuple[Image]:  # fmt: skip
    """`image1` mixed with the blend of both; `image2` takes its size (cut around the centre) and channels."""
    from orchestrator.nodes.layers import blended

    need_same_batch(image1, image2)
    return (blended(image1, with_channels_of(image1, image2), blend_factor, blend_mode),)


@node("PorterDuffImageComposite", category="mask/compositing", display_name="Porter-Duff Image Composite",
      python_module=_MODULE, v3=True, outputs=_IMAGE_MASK)  # fmt: skip
def porter_duff_image_composite(
    ctx: Ctx, source: ImageIn, source_alpha: MaskIn, destination: ImageIn, destination_alpha: MaskIn,
    mode: Annotated[str, OneOf(_PORTER_DUFF)] = "DST",
) -> tuple[Image, Mask]:  # fmt: skip
    """Both pictures with their transparency put together by a Porter-Duff rule; all take the destination's size."""
    from orchestrator.nodes.layers import at_size_of
    from orchestrator.nodes.porter_duff import composed

    count = min(len(values) for values in (source, source_alpha, destination, destination_alpha))
    below, above = destination[:count], source[:count]
    need_channels(above, (below.shape[-1],))
    coverage = [1.0 - at_size_of(below, alpha[:count, ..., None]) for alpha in (source_alpha, destination_alpha)]
    picture, alpha = composed(at_size_of(below, above), coverage[0], below, coverage[1], mode)
    return picture, 1.0 - alpha[..., 0]


@node("SplitImageWithAlpha", category="mask/compositing", display_name="Split Image with Alpha", python_module=_MODULE,
      v3=True, outputs=_IMAGE_MASK)  # fmt: skip
def split_image_with_alpha(ctx: Ctx, image: ImageIn) -> tuple[Image, Mask]:
    """Colours and transparency apart; without alpha nothing is transparent."""
    import torch

    transparent = 1.0 - image[..., 3] if image.shape[-1] > 3 else torch.zeros_like(image[..., 0])
    return detached(image[..., :3]), transparent


@node("JoinImageWithAlpha", category="mask/compositing", display_name="Join Image with Alpha", python_module=_MODULE,
      v3=True, outputs=(("IMAGE", "IMAGE"),))  # fmt: skip
def join_image_with_alpha(ctx: Ctx, image: ImageIn, alpha: MaskIn) -> tuple[Image]:
    """Colours with this transparency, stretched to the picture; as many as the smaller batch has."""
    import torch

    from orchestrator.nodes.resize import resized

    need_channels(image, (3, 4))
    count = min(len(image), len(alpha))
    mask = resized(alpha[:count, None], image.shape[2], image.shape[1], "bilinear")[:, 0]
    return (torch.cat((image[:count, ..., :3], 1.0 - mask[..., None]), dim=-1),)
