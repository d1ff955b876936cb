"""A batch of pictures as one moving picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, BinaryIO

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Float, Int, NodeOutput, OneOf, Text
from orchestrator.nodes.links import ImageIn
from orchestrator.ports import Ctx

_MODULE = "comfy_extras.nodes_images"
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))
_EFFORT = {"default": 4, "fastest": 0, "slowest": 6}
"""libwebp's method numbers."""

FramesPerSecond = Annotated[float, Float(default=6.0, min=0.01, max=1000.0, step=0.01)]
Prefix = Annotated[str, Text(default="ComfyUI")]


@node("SaveAnimatedWEBP", category="image/animation", display_name="SaveAnimatedWEBP", python_module=_MODULE,
      output_node=True, hidden=_HIDDEN)  # fmt: skip
def save_animated_webp(
    ctx: Ctx, images: ImageIn, filename_prefix: Prefix, fps: FramesPerSecond,
    lossless: Annotated[bool, Bool(default=True)], quality: Annotated[int, Int(default=80, min=0, max=100)],
    method: Annotated[str, OneOf(tuple(_EFFORT))], *, prompt: Mapping[str, object] | None = None,
    extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """One WebP file of all pictures, with the prompt in its EXIF data."""
    from orchestrator.nodes.animation_file import frames, write_webp
    from orchestrator.nodes.picture_file import metadata

    pictures, texts = frames(images, ctx.check_cancelled), metadata(prompt, extra_pnginfo)

    def write(file: BinaryIO) -> None:
        write_webp(pictures, texts, fps, lossless, quality, _EFFORT[method], file)

    stored = ctx.artifacts.save("output", filename_prefix, ".webp", pictures[0].size, write)
    return NodeOutput(ui={"images": [dict(stored.as_ui())], "animated": [len(pictures) != 1]})


@node("SaveAnimatedPNG", category="image/animation", display_name="SaveAnimatedPNG", python_module=_MODULE,
      output_node=True, hidden=_HIDDEN)  # fmt: skip
def save_animated_png(
    ctx: Ctx, images: ImageIn, filename_prefix: Prefix, fps: FramesPerSecond,
    compress_level: Annotated[int, Int(min=0, max=9)] = 4, *, prompt: Mapping[str, object] | None = None,
    extra_pnginfo: Mapping[str, object] | None = None,
) -> NodeOutput:  # fmt: skip
    """One PNG file of all pictures, with the prompt in its `comf` chunks."""
    from orchestrator.nodes.animation_file import frames, write_apng
    from orchestrator.nodes.picture_file import metadata

    pictures, texts = frames(images, ctx.check_cancelled), metadata(prompt, extra_pnginfo)

    def write(file: BinaryIO) -> None:
        write_apng(pictures, texts, fps, compress_level, file)

    stored = ctx.artifacts.save("output", filename_prefix, ".png", pictures[0].size, write)
    return NodeOutput(ui={"images": [dict(stored.as_ui())], "animated": [True]})
