"""Filters on pictures."""

from __future__ import annotations

from typing import Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, OneOf
from orchestrator.nodes.links import Image, ImageIn
from orchestrator.nodes.shapes import need_channels
from orchestrator.ports import Ctx

_POST = "comfy_extras.nodes_post_processing"
_IMAGE = (("IMAGE", "IMAGE"),)
_DITHERS = ("none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16")
_MORPHOLOGY = ("erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat")

Radius = Annotated[int, Int(default=1, min=1, max=31, step=1)]
Threshold = Float(min=0.01, max=0.99, step=0.01)


@node("ImageBlur", category="image/postprocessing", python_module=_POST, v3=True, outputs=_IMAGE)
def image_blur(
    ctx: Ctx, image: ImageIn, blur_radius: Radius, sigma: Annotated[float, Float(min=0.1, max=10.0, step=0.1)] = 1.0
) -> tuple[Image]:
    """Gaussian blur; `sigma` counts in radii."""
    from orchestrator.nodes.gauss import blurred

    return (blurred(image, blur_radius, sigma),)


@node("ImageSharpen", category="image/postprocessing", python_module=_POST, v3=True, outputs=_IMAGE)
def image_sharpen(
    ctx: Ctx, image: ImageIn, sharpen_radius: Radius,
    sigma: Annotated[float, Float(default=1.0, min=0.1, max=10.0, step=0.01)],
    alpha: Annotated[float, Float(min=0.0, max=5.0, step=0.01)] = 1.0,
) -> tuple[Image]:  # fmt: skip
    """Adds ten times `alpha` of what a Gaussian blur takes away; clipped to 0..1."""
    from orchestrator.nodes.gauss import blurred

    detail = image - blurred(image, sharpen_radius, sigma)
    return ((image + 10.0 * alpha * detail).clamp(0, 1),)


@node("ImageQuantize", category="image/postprocessing", python_module=_POST, v3=True, outputs=_IMAGE)
def image_quantize(
    ctx: Ctx, image: ImageIn, colors: Annotated[int, Int(default=256, min=1, max=256, step=1)],
    dither: Annotated[str, OneOf(_DITHERS)],
) -> tuple[Image]:  # fmt: skip
    """Each picture in so many colours of its own, plain, with error diffusion or with an ordered pattern."""
    import torch

    from orchestrator.nodes.palette import quantized

    need_channels(image, (3,))
    pictures = []
    for picture in image:
        ctx.check_cancelled()  # and no progress: ComfyUI's clients get none from this node
        pictures.append(quantized(picture, colors, dither))
    return (torch.stack(pictures),)


@node("Morphology", category="image/postprocessing", display_name="ImageMorphology",
      python_module="comfy_extras.nodes_morphology", v3=True, outputs=_IMAGE)  # fmt: skip
def morphology(
    ctx: Ctx, image: ImageIn, operation: Annotated[str, OneOf(_MORPHOLOGY)],
    kernel_size: Annotated[int, Int(min=3, max=999, step=1)] = 3,
) -> tuple[Image]:  # fmt: skip
    """Smallest or largest values in a square window, channel by channel, and what is made of them."""
    from orchestrator.nodes.morphology import morphed

    return (morphed(image.movedim(-1, 1), operation, kernel_size).movedim(1, -1),)


@node("Canny", category="image/preprocessors", python_module="comfy_extras.nodes_canny", v3=True, outputs=_IMAGE)
def canny(
    ctx: Ctx, image: ImageIn, low_threshold: Annotated[float, Threshold] = 0.4,
    high_threshold: Annotated[float, Threshold] = 0.8,
) -> tuple[Image]:  # fmt: skip
    """White edges on black: gradients above `high_threshold`, and above `low_threshold` where they touch such."""
    from orchestrator.nodes.edges import SMALLEST_SIDE, edges

    need_channels(image, (1, 3))
    if low_threshold > high_threshold:
        raise InvalidRequest(
            "low_threshold must not be above high_threshold", reason="THRESHOLDS",
            low_threshold=low_threshold, high_threshold=high_threshold,
        )  # fmt: skip
    if min(image.shape[1:3]) < SMALLEST_SIDE:
        raise InvalidRequest("the picture is too small for this filter", reason="PICTURE_SIZE", at_least=SMALLEST_SIDE)
    return (edges(image, low_threshold, high_threshold)[..., None].expand(-1, -1, -1, 3),)


@node("ImageAddNoise", category="image", display_name="ImageAddNoise", python_module="comfy_extras.nodes_images",
      outputs=_IMAGE)  # fmt: skip
def image_add_noise(
    ctx: Ctx, image: ImageIn, seed: Annotated[int, Int(default=0, min=0, max=2**64 - 1, control_after_generate=True)],
    strength: Annotated[float, Float(min=0.0, max=1.0, step=0.01)] = 0.5,
) -> tuple[Image]:  # fmt: skip
    """Gaussian noise of this standard deviation on each channel; clipped to 0..1."""
    import torch

    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    return ((image + strength * noise).clamp(0, 1),)


@node("LTXVPreprocess", category="image", python_module="comfy_extras.nodes_lt", v3=True,
      outputs=(("IMAGE", "output_image"),))  # fmt: skip
def ltxv_preprocess(
    ctx: Ctx, image: ImageIn, img_compression: Annotated[int, Int(min=0, max=100)] = 35
) -> tuple[Image]:
    """Each picture through H.264 at this rate factor, as a video model saw its training frames; 0 leaves it alone.

    Sides become even.
    """
    import torch

    from orchestrator.nodes.video_frame import through_h264

    if img_compression == 0:
        return (image,)
    need_channels(image, (3,))
    pictures = []
    for picture in image:
        ctx.check_cancelled()  # and no progress: ComfyUI's clients get none from this node
        pictures.append(through_h264(picture, img_compression))
    return (torch.stack(pictures),)
