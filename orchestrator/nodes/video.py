"""Films: load, take apart, make, save."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, BinaryIO

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, InputFile, Link, NodeOutput, OneOf, Text
from orchestrator.nodes.links import Image
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio, Video, VideoFile, VideoFrames

_CATEGORY, _MODULE = "image/video", "comfy_extras.nodes_video"
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))
VideoIn = Annotated[Video, Link("VIDEO", options={})]
Images = Annotated[Image, Link("IMAGE", options={})]
Texts = Mapping[str, object] | None


def _video_digest(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    name = inputs.get("file")
    return ctx.artifacts.digest(name) if isinstance(name, str) else None


@node(
    "LoadVideo", category=_CATEGORY, display_name="Load Video", python_module=_MODULE, v3=True,
    outputs=(("VIDEO", "VIDEO"),), fingerprint=_video_digest,
)  # fmt: skip
def load_video(ctx: Ctx, file: Annotated[str, InputFile("video", options={"video_upload": True})]) -> tuple[Video]:
    """A film file; it is decoded where its pictures are asked for."""
    ctx.artifacts.input_path(file)
    return (VideoFile(file),)


@node(
    "CreateVideo", category=_CATEGORY, display_name="Create Video", python_module=_MODULE, v3=True,
    outputs=(("VIDEO", "VIDEO"),),
)  # fmt: skip
def create_video(
    ctx: Ctx, images: Images, fps: Annotated[float, Float(min=1.0, max=120.0, step=1.0)] = 30.0, *,
    audio: Annotated[Audio, Link("AUDIO", options={})] | None = None,
) -> tuple[Video]:  # fmt: skip
    """A film of pictures, with or without sound."""
    return (VideoFrames(images, Fraction(fps), audio),)


@node(
    "GetVideoComponents", category=_CATEGORY, display_name="Get Video Components", python_module=_MODULE, v3=True,
    outputs=(("IMAGE", "images"), ("AUDIO", "audio"), ("FLOAT", "fps")),
)  # fmt: skip
def get_video_components(ctx: Ctx, video: VideoIn) -> tuple[Image, Audio | None, float]:
    """The pictures, the sound (none if there is none) and the frame rate of a film."""
    from orchestrator.nodes.video_file import frames_of

    frames = frames_of(ctx, video)
    return frames.images, frames.audio, float(frames.frame_rate)


@node(
    "SaveVideo", category=_CATEGORY, display_name="Save Video", python_module=_MODULE, v3=True, output_node=True,
    hidden=_HIDDEN,
)  # fmt: skip
def save_video(
    ctx: Ctx, video: VideoIn, filename_prefix: Annotated[str, Text(multiline=False)] = "video/ComfyUI",
    format: Annotated[str, OneOf(("auto", "mp4"))] = "auto",
    codec: Annotated[str, OneOf(("auto", "h264"))] = "auto", *, prompt: Texts = None, extra_pnginfo: Texts = None,
) -> NodeOutput:  # fmt: skip
    """Writes a film as MP4 with the prompt in its metadata; a file's streams are kept where they are what is asked."""
    from orchestrator.nodes.picture_file import metadata
    from orchestrator.nodes.video_file import frames_of, keeps_streams, remux, size_of, write_mp4

    texts = metadata(prompt, extra_pnginfo)
    source = video if isinstance(video, VideoFile) and keeps_streams(ctx, video, format, codec) else None
    size = size_of(ctx, video)
    frames = None if source else frames_of(ctx, video)

    def write(file: BinaryIO) -> None:
        if frames is not None:
            write_mp4(ctx, frames, texts, file)
        elif source is not None:
            remux(ctx, source, texts, file)

    stored = ctx.artifacts.save("output", filename_prefix, ".mp4", size, write)
    return NodeOutput(ui={"images": [dict(stored.as_ui())], "animated": [True]})


@node(
    "SaveWEBM", category=_CATEGORY, python_module=_MODULE, v3=True, experimental=True, output_node=True, hidden=_HIDDEN
)
def save_webm(
    ctx: Ctx, images: Images, filename_prefix: Annotated[str, Text(default="ComfyUI", multiline=False)],
    codec: Annotated[str, OneOf(("vp9", "av1"))],
    fps: Annotated[float, Float(min=0.01, max=1000.0, step=0.01)] = 24.0,
    crf: Annotated[float, Float(min=0, max=63.0, step=1)] = 32.0, *, prompt: Texts = None, extra_pnginfo: Texts = None,
) -> NodeOutput:  # fmt: skip
    """Writes pictures as a silent WebM film with the prompt in its metadata; a higher `crf` is smaller and worse."""
    from orchestrator.nodes.picture_file import metadata
    from orchestrator.nodes.video_file import write_webm

    texts = metadata(prompt, extra_pnginfo)

    def write(file: BinaryIO) -> None:
        write_webm(ctx, images, codec, fps, crf, texts, file)

    stored = ctx.artifacts.save("output", filename_prefix, ".webm", (images.shape[2], images.shape[1]), write)
    return NodeOutput(ui={"images": [dict(stored.as_ui())], "animated": [True]})
