"""Masks: made from pictures, shown, cut, combined and shaped. A mask is float32 [B, H, W]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Float, Int, NodeOutput, OneOf
from orchestrator.nodes.image import save_preview
from orchestrator.nodes.links import MAX_SIDE, Image, ImageIn, Mask, MaskIn, Side
from orchestrator.nodes.shapes import detached, need_channels
from orchestrator.ports import Ctx

_MODULE = "comfy_extras.nodes_mask"
_MASK = (("MASK", "MASK"),)
_CHANNELS = ("red", "green", "blue", "alpha")
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))
_PREVIEW_COMPRESSION = 4

Offset = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=1)]


def _stacked(mask: Mask) -> Mask:
    return mask.reshape(-1, *mask.shape[-2:])


@node("MaskToImage", category="mask", display_name="Convert Mask to Image", python_module=_MODULE,
      outputs=(("IMAGE", "IMAGE"),))  # fmt: skip
def mask_to_image(ctx: Ctx, mask: MaskIn) -> tuple[Image]:
    """The mask as a grey picture."""
    return (_stacked(mask)[..., None].expand(-1, -1, -1, 3),)


@node("ImageToMask", category="mask", display_name="Convert Image to Mask", python_module=_MODULE, outputs=_MASK)
def image_to_mask(ctx: Ctx, image: ImageIn, channel: Annotated[str, OneOf(_CHANNELS)]) -> tuple[Mask]:
    """One channel of a picture, as it is."""
    index = _CHANNELS.index(channel)
    if index >= image.shape[-1]:
        need_channels(image, range(index + 1, len(_CHANNELS) + 1))
    return (detached(image[..., index]),)


@node("ImageColorToMask", category="mask", display_name="ImageColorToMask", python_module=_MODULE, outputs=_MASK)
def image_color_to_mask(
    ctx: Ctx, image: ImageIn, color: Annotated[int, Int(min=0, max=0xFFFFFF, step=1, display="color")] = 0
) -> tuple[Mask]:
    """1 where the picture has exactly this colour, 0xRRGGBB."""
    need_channels(image, (3, 4))
    red, green, blue = (image[..., :3].clamp(0, 1) * 255.0).round().int().unbind(-1)
    return (((red << 16) + (green << 8) + blue == color).float(),)


@node("InvertMask", category="mask", display_name="InvertMask", python_module=_MODULE, outputs=_MASK)
def invert_mask(ctx: Ctx, mask: MaskIn) -> tuple[Mask]:
    """1 - mask."""
    return (1.0 - mask,)


@node("CropMask", category="mask", display_name="CropMask", python_module=_MODULE, outputs=_MASK)
def crop_mask(ctx: Ctx, mask: MaskIn, x: Offset, y: Offset, width: Side, height: Side) -> tuple[Mask]:
    """A rectangle of the mask; what lies outside is left out."""
    rows, columns = mask.shape[-2:]
    if x >= columns or y >= rows:
        raise InvalidRequest(
            "the rectangle begins outside the mask; x and y must be less than its sides", reason="OUTSIDE",
            x=x, y=y, width=columns, height=rows,
        )  # fmt: skip
    return (detached(_stacked(mask)[:, y : y + height, x : x + width]),)


@node("MaskComposite", category="mask", display_name="MaskComposite", python_module=_MODULE, outputs=_MASK)
def mask_composite(
    ctx: Ctx, destination: MaskIn, source: MaskIn, x: Offset, y: Offset,
    operation: Annotated[str, OneOf(("multiply", "add", "subtract", "and", "or", "xor"))],
) -> tuple[Mask]:  # fmt: skip
    """`source` laid on `destination` at x, y; and, or and xor take values from a half up as 1. Clipped to 0..1."""
    from orchestrator.nodes.mask_shape import combined

    return (combined(_stacked(destination), _stacked(source), x, y, operation),)


@node("FeatherMask", category="mask", display_name="FeatherMask", python_module=_MODULE, outputs=_MASK)
def feather_mask(ctx: Ctx, mask: MaskIn, left: Offset, top: Offset, right: Offset, bottom: Offset) -> tuple[Mask]:
    """Fades the mask out towards its sides, over so many pixels each."""
    from orchestrator.nodes.mask_shape import feathered

    return (feathered(_stacked(mask), left, top, right, bottom),)


@node("GrowMask", category="mask", display_name="GrowMask", python_module=_MODULE, outputs=_MASK)
def grow_mask(
    ctx: Ctx, mask: MaskIn, expand: Annotated[int, Int(default=0, min=-MAX_SIDE, max=MAX_SIDE, step=1)],
    tapered_corners: Annotated[bool, Bool()] = True,
) -> tuple[Mask]:  # fmt: skip
    """Bright parts grow by `expand` pixels (shrink if negative): as diamonds with tapered corners, else as squares."""
    from orchestrator.nodes.mask_shape import grown

    return (grown(_stacked(mask), expand, tapered_corners, ctx.check_cancelled),)


@node("ThresholdMask", category="mask", display_name="ThresholdMask", python_module=_MODULE, outputs=_MASK)
def threshold_mask(
    ctx: Ctx, mask: MaskIn, value: Annotated[float, Float(min=0.0, max=1.0, step=0.01)] = 0.5
) -> tuple[Mask]:
    """1 where the mask is above `value`."""
    return ((mask > value).float(),)


@node("MaskPreview", category="mask", display_name="MaskPreview", python_module=_MODULE, output_node=True,
      hidden=_HIDDEN)  # fmt: skip
def mask_preview(
    ctx: Ctx, mask: MaskIn, *, prompt: Mapping[str, object] | None = None,
    extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """Writes each mask of the batch as a grey picture to the temporary folder."""
    (pictures,) = mask_to_image(ctx, mask)
    return save_preview(ctx, pictures, _PREVIEW_COMPRESSION, prompt, extra_pnginfo)
