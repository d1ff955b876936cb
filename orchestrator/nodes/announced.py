"""Loaders of families that are not served yet, because the web UI does not start to work without them.

The catalogue has them, with their file lists; who runs one is told what is missing.
"""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

from kit.errors import Unsupported
from orchestrator.graph.declare import node
from orchestrator.graph.spec import OneOf
from orchestrator.ports import Ctx


def _later(what: str, name: str) -> NoReturn:
    raise Unsupported(
        f"{what} are not served yet: remove this node, or run the workflow on ComfyUI",
        reason="NOT_SERVED_YET",
        family=what,
        file=name,
    )


@node("ControlNetLoader", category="loaders", display_name="Load ControlNet Model",
      outputs=(("CONTROL_NET", "CONTROL_NET"),))  # fmt: skip
def control_net_loader(ctx: Ctx, control_net_name: Annotated[str, OneOf.catalogue("controlnet")]) -> tuple[Any]:
    """Not served yet."""
    _later("ControlNets", control_net_name)


@node(
    "StyleModelLoader", category="loaders", display_name="Load Style Model", outputs=(("STYLE_MODEL", "STYLE_MODEL"),)
)
def style_model_loader(ctx: Ctx, style_model_name: Annotated[str, OneOf.catalogue("style_models")]) -> tuple[Any]:
    """Not served yet."""
    _later("style models", style_model_name)


@node("GLIGENLoader", category="loaders", display_name="GLIGENLoader", outputs=(("GLIGEN", "GLIGEN"),))
def gligen_loader(ctx: Ctx, gligen_name: Annotated[str, OneOf.catalogue("gligen")]) -> tuple[Any]:
    """Not served yet."""
    _later("GLIGEN models", gligen_name)


@node("UpscaleModelLoader", category="loaders", display_name="Load Upscale Model", v3=True,
      python_module="comfy_extras.nodes_upscale_model", outputs=(("UPSCALE_MODEL", "UPSCALE_MODEL"),))  # fmt: skip
def upscale_model_loader(ctx: Ctx, model_name: Annotated[str, OneOf.catalogue("upscale_models")]) -> tuple[Any]:
    """Not served yet."""
    _later("upscale models", model_name)


@node("ImageOnlyCheckpointLoader", category="loaders/video_models", python_module="comfy_extras.nodes_video_model",
      display_name="Image Only Checkpoint Loader (img2vid model)",
      outputs=(("MODEL", "MODEL"), ("CLIP_VISION", "CLIP_VISION"), ("VAE", "VAE")))  # fmt: skip
def image_only_checkpoint_loader(
    ctx: Ctx, ckpt_name: Annotated[str, OneOf.catalogue("checkpoints")]
) -> tuple[Any, Any, Any]:
    """Not served yet."""
    _later("image-to-video checkpoints", ckpt_name)
