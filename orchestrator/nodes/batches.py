"""Batches of pictures: taken apart, put together, measured; and their channels as batches."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Int, Link, Output
from orchestrator.nodes.links import Image, ImageIn
from orchestrator.nodes.shapes import detached, need_channels, need_same_batch, need_same_size
from orchestrator.ports import Ctx

_IMAGES, _MORPHOLOGY = "comfy_extras.nodes_images", "comfy_extras.nodes_morphology"
_IMAGE = (("IMAGE", "IMAGE"),)
_LARGEST_BATCH = 4096
# BT.601 luma, and colour differences scaled as in JPEG, with the factors rounded to three digits.
_BLUE_DIFFERENCE, _RED_DIFFERENCE = 0.564, 0.713


@node("RebatchImages", category="image/batch", display_name="Rebatch Images", v3=True,
      python_module="comfy_extras.nodes_rebatch", input_is_list=True,
      outputs=(Output("IMAGE", "IMAGE", is_list=True),))  # fmt: skip
def rebatch_images(
    ctx: Ctx, images: Annotated[list[Image], Link("IMAGE")],
    batch_size: Annotated[list[int], Int(default=1, min=1, max=_LARGEST_BATCH)],
) -> tuple[list[Image]]:  # fmt: skip
    """All pictures of the list, in batches of this size; the last may be smaller."""
    import torch

    size = batch_size[0]
    single = [picture[None] for batch in images for picture in batch]
    groups = [single[start : start + size] for start in range(0, len(single), size)]
    for group in groups:
        need_same_size(group)
    return ([torch.cat(group) for group in groups],)


@node("RepeatImageBatch", category="image/batch", display_name="RepeatImageBatch", python_module=_IMAGES,
      outputs=_IMAGE)  # fmt: skip
def repeat_image_batch(
    ctx: Ctx, image: ImageIn, amount: Annotated[int, Int(min=1, max=_LARGEST_BATCH)] = 1
) -> tuple[Image]:
    """The batch so many times in a row."""
    return (image.repeat(amount, 1, 1, 1),)


@node("ImageFromBatch", category="image/batch", display_name="ImageFromBatch", python_module=_IMAGES, outputs=_IMAGE)
def image_from_batch(
    ctx: Ctx, image: ImageIn, batch_index: Annotated[int, Int(min=0, max=_LARGEST_BATCH - 1)] = 0,
    length: Annotated[int, Int(min=1, max=_LARGEST_BATCH)] = 1,
) -> tuple[Image]:  # fmt: skip
    """`length` pictures of the batch from an index on, as many as there are and at least the last."""
    start = min(image.shape[0] - 1, batch_index)
    return (detached(image[start : start + length]),)


@node("GetImageSize", category="image", display_name="Get Image Size", python_module=_IMAGES,
      hidden=(("unique_id", "UNIQUE_ID"),),
      outputs=(("INT", "width"), ("INT", "height"), ("INT", "batch_size")))  # fmt: skip
def get_image_size(ctx: Ctx, image: ImageIn, *, unique_id: str | None = None) -> tuple[int, int, int]:
    """Sides in pixels, and the number of pictures."""
    count, height, width = image.shape[:3]
    ctx.show_text(f"width: {width}, height: {height}\n batch size: {count}")
    return width, height, count


@node("ImageRGBToYUV", category="image/batch", python_module=_MORPHOLOGY, v3=True,
      outputs=(("IMAGE", "Y"), ("IMAGE", "U"), ("IMAGE", "V")))  # fmt: skip
def image_rgb_to_yuv(ctx: Ctx, image: ImageIn) -> tuple[Image, Image, Image]:
    """Brightness and two colour differences (full-range BT.601, 0.5 for none), each as a grey picture."""
    need_channels(image, (3,))
    red, green, blue = image.unbind(-1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    planes = luma, _BLUE_DIFFERENCE * (blue - luma) + 0.5, _RED_DIFFERENCE * (red - luma) + 0.5
    y, u, v = (plane[..., None].expand_as(image) for plane in planes)
    return y, u, v


@node("ImageYUVToRGB", category="image/batch", python_module=_MORPHOLOGY, v3=True, outputs=_IMAGE)
def image_yuv_to_rgb(ctx: Ctx, Y: ImageIn, U: ImageIn, V: ImageIn) -> tuple[Image]:
    """Colours from brightness and colour differences, each the mean of its picture's channels."""
    import torch

    y, u, v = (picture.mean(dim=-1, keepdim=True) for picture in (Y, U, V))
    need_same_size((y, u, v))
    for difference in (u, v):
        need_same_batch(y, difference)
    u, v = u - 0.5, v - 0.5
    red, blue = y + (1 / _RED_DIFFERENCE) * v, y + (1 / _BLUE_DIFFERENCE) * u
    green = y - (0.299 / 0.587 / _RED_DIFFERENCE) * v - (0.114 / 0.587 / _BLUE_DIFFERENCE) * u
    return (torch.cat((red, green, blue), dim=-1).clamp(0, 1),)
