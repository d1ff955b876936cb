"""Pictures cut, turned, put side by side and brought to sizes."""

from __future__ import annotations

import math
from typing import Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Float, Int, Link, OneOf
from orchestrator.nodes.links import MAX_SIDE, Image, ImageIn, Mask, Side
from orchestrator.nodes.shapes import detached
from orchestrator.ports import Ctx

_MODULE = "comfy_extras.nodes_images"
_IMAGE = (("IMAGE", "IMAGE"),)
_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
_QUARTERS = {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}
_FLIPS = {"x-axis: vertically": 1, "y-axis: horizontally": 2}

# Widths and heights that Flux.1 Kontext was trained on, as its authors publish them.
_KONTEXT_SIZES = (
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104),
    (1024, 1024), (1104, 944), (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688),
    (1568, 672),
)  # fmt: skip

Offset = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=1)]
Border = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=8)]


@node("ImageCrop", category="image/transform", display_name="Image Crop", python_module=_MODULE, outputs=_IMAGE)
def image_crop(ctx: Ctx, image: ImageIn, width: Side, height: Side, x: Offset, y: Offset) -> tuple[Image]:
    """A rectangle of the picture; what lies outside is left out, down to one pixel."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return (detached(image[:, y : y + height, x : x + width]),)


@node("ImageRotate", category="image/transform", display_name="ImageRotate", python_module=_MODULE, outputs=_IMAGE)
def image_rotate(ctx: Ctx, image: ImageIn, rotation: Annotated[str, OneOf(tuple(_QUARTERS))]) -> tuple[Image]:
    """Turned clockwise."""
    return (image.rot90(_QUARTERS[rotation], (2, 1)),)


@node("ImageFlip", category="image/transform", display_name="ImageFlip", python_module=_MODULE, outputs=_IMAGE)
def image_flip(ctx: Ctx, image: ImageIn, flip_method: Annotated[str, OneOf(tuple(_FLIPS))]) -> tuple[Image]:
    """Upside down (x-axis) or mirrored (y-axis)."""
    return (image.flip(_FLIPS[flip_method]),)


@node("ImageStitch", category="image/transform", display_name="Image Stitch", python_module=_MODULE, outputs=_IMAGE)
def image_stitch(
    ctx: Ctx, image1: ImageIn,
    direction: Annotated[str, OneOf(("right", "down", "left", "up"), default="right")],
    match_image_size: Annotated[bool, Bool(default=True)],
    spacing_width: Annotated[int, Int(default=0, min=0, max=1024, step=2)],
    spacing_color: Annotated[str, OneOf(("white", "black", "red", "green", "blue"), default="white")],
    *, image2: Annotated[Image, Link("IMAGE")] | None = None,
) -> tuple[Image]:  # fmt: skip
    """`image2` beside `image1`, scaled to its side or centred on a border; the shorter batch repeats its last one."""
    from orchestrator.nodes.stitching import stitched

    if image2 is None:
        return (image1,)
    return (stitched(image1, image2, direction, match_image_size, spacing_width, spacing_color),)


@node("ResizeAndPadImage", category="image/transform", display_name="ResizeAndPadImage", python_module=_MODULE,
      outputs=_IMAGE)  # fmt: skip
def resize_and_pad_image(
    ctx: Ctx, image: ImageIn, target_width: Side, target_height: Side,
    padding_color: Annotated[str, OneOf(("white", "black"))],
    interpolation: Annotated[str, OneOf(("area", "bicubic", "nearest-exact", "bilinear", "lanczos"))],
) -> tuple[Image]:  # fmt: skip
    """The whole picture as large as it fits, in the middle of a white or black one of exactly this size."""
    rows, columns = image.shape[1:3]
    scale = min(target_width / columns, target_height / rows)
    width, height = max(1, int(columns * scale)), max(1, int(rows * scale))
    output = image.new_full(
        (image.shape[0], target_height, target_width, image.shape[3]), 0.0 if padding_color == "black" else 1.0
    )
    top, left = (target_height - height) // 2, (target_width - width) // 2
    output[:, top : top + height, left : left + width] = _scaled(image, width, height, interpolation)
    return (output,)


@node("ImagePadForOutpaint", category="image", display_name="Pad Image for Outpainting",
      outputs=(("IMAGE", "IMAGE"), ("MASK", "MASK")))  # fmt: skip
def image_pad_for_outpaint(
    ctx: Ctx, image: ImageIn, left: Border, top: Border, right: Border, bottom: Border,
    feathering: Annotated[int, Int(default=40, min=0, max=MAX_SIDE, step=1)],
) -> tuple[Image, Mask]:  # fmt: skip
    """Grey borders, and a mask of them that fades into the picture over `feathering` pixels (if it has room for it)."""
    from orchestrator.nodes.stitching import padded

    return padded(image, left, top, right, bottom, feathering)


@node("ImageScaleToTotalPixels", category="image/upscaling", python_module="comfy_extras.nodes_post_processing",
      v3=True, outputs=_IMAGE)  # fmt: skip
def image_scale_to_total_pixels(
    ctx: Ctx, image: ImageIn, upscale_method: Annotated[str, OneOf(_METHODS)],
    megapixels: Annotated[float, Float(min=0.01, max=16.0, step=0.01)] = 1.0,
) -> tuple[Image]:  # fmt: skip
    """The picture at about so many times 1024 x 1024 pixels, its aspect ratio kept."""
    rows, columns = image.shape[1:3]
    scale = math.sqrt(int(megapixels * 1024 * 1024) / (rows * columns))
    return (_scaled(image, max(1, round(columns * scale)), max(1, round(rows * scale)), upscale_method),)


@node("ImageScaleToMaxDimension", category="image/upscaling", display_name="ImageScaleToMaxDimension",
      python_module=_MODULE, outputs=_IMAGE)  # fmt: skip
def image_scale_to_max_dimension(
    ctx: Ctx, image: ImageIn,
    upscale_method: Annotated[
        str, OneOf(("area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"))
    ],  # ComfyUI lists one twice
    largest_size: Annotated[int, Int(min=0, max=MAX_SIDE, step=1)] = 512,
) -> tuple[Image]:  # fmt: skip
    """The picture with its longer side this long, its aspect ratio kept."""
    if largest_size == 0:
        raise InvalidRequest("a picture needs a size: largest_size must be at least 1", reason="PICTURE_SIZE")
    rows, columns = image.shape[1:3]
    width, height = (max(1, round(side / max(rows, columns) * largest_size)) for side in (columns, rows))
    return (_scaled(image, width, height, upscale_method),)


@node("FluxKontextImageScale", category="advanced/conditioning/flux", python_module="comfy_extras.nodes_flux", v3=True,
      outputs=_IMAGE)  # fmt: skip
def flux_kontext_image_scale(ctx: Ctx, image: ImageIn) -> tuple[Image]:
    """The picture at the size of Flux.1 Kontext's that is nearest in aspect ratio; what does not fit is cut off."""
    ratio = image.shape[2] / image.shape[1]
    width, height = min(_KONTEXT_SIZES, key=lambda size: abs(ratio - size[0] / size[1]))
    return (_scaled(image, width, height, "lanczos", "center"),)


def _scaled(image: Image, width: int, height: int, method: str, crop: str = "disabled") -> Image:
    from orchestrator.nodes.resize import resized

    return resized(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1)  # B H W C
