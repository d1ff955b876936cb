"""Pictures that come from elsewhere than the input folder: from outputs and from a camera."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, InputFile, Int
from orchestrator.nodes.image import picture_digest
from orchestrator.nodes.links import MAX_SIDE, Image, Mask
from orchestrator.ports import Ctx

_REMOTE_LIST = {
    "image_folder": "output",
    "remote": {"route": "/internal/files/output", "refresh_button": True, "control_after_refresh": "first"},
}
"""How the web UI finds the names by itself."""

OutputFile = Annotated[str, InputFile(content="image", upload="image_upload", shown_as="COMBO", options=_REMOTE_LIST)]
Webcam = Annotated[str, InputFile(content="image", shown_as="WEBCAM", options={})]
CameraSide = Annotated[int, Int(default=0, min=0, max=MAX_SIDE, step=1)]


@node(
    "LoadImageOutput", category="image", display_name="Load Image (from Outputs)", experimental=True,
    outputs=(("IMAGE", "IMAGE"), ("MASK", "MASK")), fingerprint=picture_digest,
)  # fmt: skip
def load_image_output(ctx: Ctx, image: OutputFile) -> tuple[Image, Mask]:
    """A picture that an earlier run saved, named like `a_00001_.png [output]`, and its transparency."""
    from orchestrator.nodes.picture_file import load_picture

    return load_picture(ctx.artifacts.input_path(image))


@node(
    "WebcamCapture", category="image", display_name="Webcam Capture", python_module="comfy_extras.nodes_webcam",
    outputs=(("IMAGE", "IMAGE"),), fingerprint=picture_digest,
)  # fmt: skip
def webcam_capture(
    ctx: Ctx, image: Webcam, width: CameraSide, height: CameraSide, capture_on_queue: Annotated[bool, Bool()] = True
) -> tuple[Image]:
    """The picture that the web UI took and uploaded; size and moment were the web UI's business."""
    from orchestrator.nodes.picture_file import load_picture

    return (load_picture(ctx.artifacts.input_path(image))[0],)
