"""Pictures: load, save, resize, make."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, BinaryIO

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, InputFile, Int, Json, Link, NodeOutput, OneOf, Text
from orchestrator.nodes.links import MAX_SIDE, Image, ImageIn, Mask, Side
from orchestrator.ports import Ctx

_IMAGE = (("IMAGE", "IMAGE"),)
_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))
_SAVE_COMPRESSION, _PREVIEW_COMPRESSION = 4, 1
_PREVIEW_LETTERS = 5

Method = Annotated[str, OneOf(_METHODS)]
Resized = Annotated[int, Int(default=512, min=0, max=MAX_SIDE, step=1)]
PictureFile = Annotated[str, InputFile(content="image", upload="image_upload")]


def picture_digest(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    """Fingerprint of a node whose input `image` names a file."""
    name = inputs.get("image")
    return ctx.artifacts.digest(name) if isinstance(name, str) else None


@node(
    "LoadImage", category="image", display_name="Load Image", outputs=(("IMAGE", "IMAGE"), ("MASK", "MASK")),
    fingerprint=picture_digest,
)  # fmt: skip
def load_image(ctx: Ctx, image: PictureFile) -> tuple[Image, Mask]:
    """All frames of a picture file, turned as its EXIF says, and its transparency (1 where nothing is to be seen)."""
    from orchestrator.nodes.picture_file import load_picture

    return load_picture(ctx.artifacts.input_path(image))


@node(
    "LoadImageMask", category="mask", display_name="Load Image (as Mask)", outputs=(("MASK", "MASK"),),
    fingerprint=picture_digest,
)  # fmt: skip
def load_image_mask(
    ctx: Ctx, image: PictureFile, channel: Annotated[str, OneOf(("alpha", "red", "green", "blue"))]
) -> tuple[Mask]:
    """One channel of a picture as a mask; alpha is inverted."""
    from orchestrator.nodes.picture_file import load_channel

    return (load_channel(ctx.artifacts.input_path(image), channel),)


@node("SaveImage", category="image", display_name="Save Image", output_node=True, hidden=_HIDDEN)
def save_image(
    ctx: Ctx, images: Annotated[Image, Link("IMAGE", options={})], filename_prefix: Annotated[str, Text()] = "ComfyUI",
    *, prompt: Mapping[str, object] | None = None, extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """Writes each picture of the batch as PNG, with the prompt in its metadata."""
    return _saved(ctx, "output", images, filename_prefix, _SAVE_COMPRESSION, prompt, extra_pnginfo)


@node("PreviewImage", category="image", display_name="Preview Image", output_node=True, hidden=_HIDDEN)
def preview_image(
    ctx: Ctx, images: ImageIn, *, prompt: Mapping[str, object] | None = None,
    extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """Writes each picture of the batch to the temporary folder."""
    return save_preview(ctx, images, _PREVIEW_COMPRESSION, prompt, extra_pnginfo)


def save_preview(
    ctx: Ctx, images: Image, compression: int, prompt: Mapping[str, object] | None, extra: Mapping[str, object] | None
) -> NodeOutput:
    """Each picture as PNG in the temporary folder, under letters that depend on run and node."""
    digest = hashlib.sha256(f"{ctx.run_id}/{ctx.node_id}".encode()).digest()
    letters = "".join(chr(ord("a") + byte % 26) for byte in digest[:_PREVIEW_LETTERS])
    return _saved(ctx, "temp", images, f"ComfyUI_temp_{letters}", compression, prompt, extra)


def _saved(
    ctx: Ctx, area: str, images: Image, prefix: str, compression: int,
    prompt: Mapping[str, object] | None, extra: Mapping[str, object] | None,
) -> NodeOutput:  # fmt: skip
    from orchestrator.nodes.picture_file import metadata, write_png

    texts = metadata(prompt, extra)
    size = (images.shape[2], images.shape[1])
    stored: list[Json] = []
    for number, image in enumerate(images):
        ctx.check_cancelled()

        def write(file: BinaryIO, image: Image = image) -> None:
            write_png(image, texts, compression, file)

        name = prefix.replace("%batch_num%", str(number))
        stored.append(dict(ctx.artifacts.save(area, name, ".png", size, write).as_ui()))
    return NodeOutput(ui={"images": stored})


@node("ImageScale", category="image/upscaling", display_name="Upscale Image", outputs=_IMAGE)
def image_scale(
    ctx: Ctx, image: ImageIn, upscale_method: Method, width: Resized, height: Resized,
    crop: Annotated[str, OneOf(("disabled", "center"))],
) -> tuple[Image]:  # fmt: skip
    """A picture at another size; a side of 0 keeps the aspect ratio, two keep the size."""
    if width == 0 and height == 0:
        return (image,)
    rows, columns = image.shape[1:3]
    if width == 0:
        width = max(1, round(columns * height / rows))
    elif height == 0:
        height = max(1, round(rows * width / columns))
    return (_scaled(image, width, height, upscale_method, crop),)


@node("ImageScaleBy", category="image/upscaling", display_name="Upscale Image By", outputs=_IMAGE)
def image_scale_by(
    ctx: Ctx, image: ImageIn, upscale_method: Method,
    scale_by: Annotated[float, Float(default=1.0, min=0.01, max=8.0, step=0.01)],
) -> tuple[Image]:  # fmt: skip
    """A picture with its sides multiplied."""
    height, width = (max(1, round(side * scale_by)) for side in image.shape[1:3])
    return (_scaled(image, width, height, upscale_method, "disabled"),)


def _scaled(image: Image, width: int, height: int, method: str, crop: str) -> Image:
    from orchestrator.nodes.resize import resized

    return resized(image.movedim(-1, 1), width, height, method, crop).movedim(1, -1)  # B H W C


@node("ImageInvert", category="image", display_name="Invert Image", outputs=_IMAGE)
def image_invert(ctx: Ctx, image: ImageIn) -> tuple[Image]:
    """The negative of a picture."""
    return (1.0 - image,)


@node("EmptyImage", category="image", display_name="EmptyImage", outputs=_IMAGE)
def empty_image(
    ctx: Ctx, width: Side, height: Side, batch_size: Annotated[int, Int(default=1, min=1, max=4096)],
    color: Annotated[int, Int(min=0, max=0xFFFFFF, step=1, display="color")] = 0,
) -> tuple[Image]:  # fmt: skip
    """Pictures of one colour, given as 0xRRGGBB."""
    import torch

    channels = [(color >> shift & 0xFF) / 0xFF for shift in (16, 8, 0)]
    return (torch.tensor(channels).expand(batch_size, height, width, 3).contiguous(),)


@node("ImageBatch", category="image", display_name="Batch Images", outputs=_IMAGE)
def image_batch(ctx: Ctx, image1: ImageIn, image2: ImageIn) -> tuple[Image]:
    """Both batches in one; the second takes the first's size (cut around the centre), missing alpha is opaque."""
    import torch

    channels = max(image1.shape[-1], image2.shape[-1])
    if min(image1.shape[-1], image2.shape[-1]) < channels - 1:
        raise InvalidRequest(
            "these pictures have too different channels for one batch", reason="PICTURE_SHAPE",
            shapes=f"{list(image1.shape)} and {list(image2.shape)}",
        )  # fmt: skip
    first, second = (
        torch.nn.functional.pad(image, (0, channels - image.shape[-1]), value=1.0) for image in (image1, image2)
    )
    if first.shape[1:3] != second.shape[1:3]:
        second = _scaled(second, first.shape[2], first.shape[1], "bilinear", "center")
    return (torch.cat((first, second)),)


@node(
    "SolidMask", category="mask", display_name="SolidMask", python_module="comfy_extras.nodes_mask",
    outputs=(("MASK", "MASK"),),
)  # fmt: skip
def solid_mask(
    ctx: Ctx, value: Annotated[float, Float(default=1.0, min=0.0, max=1.0, step=0.01)], width: Side, height: Side
) -> tuple[Mask]:
    """A mask of one value."""
    import torch

    return (torch.full((1, height, width), value),)
