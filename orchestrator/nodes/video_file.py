"""Film files to tensors and back. Imports torch and PyAV: only node functions import it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, BinaryIO, cast

import av
import numpy as np
import torch
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.video import VideoStream
from torch import Tensor

from kit.errors import InvalidRequest
from kit.scheduling import leave_real_time
from orchestrator.nodes.audio_file import audio_of, encode_audio
from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.links import MAX_SIDE
from orchestrator.nodes.media_file import encoding, layout_of, opened
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio, Video, VideoFile, VideoFrames

_MP4 = {"movflags": "use_metadata_tags"}
_WEBM_CODECS = {"vp9": ("libvpx-vp9", "yuv420p"), "av1": ("libsvtav1", "yuv420p10le")}
_AV1_SPEED = "6"
_RATE_PARTS = 1000
"""Frame rates are rounded to thousandths."""


def frames_of(ctx: Ctx, video: Video) -> VideoFrames:
    """All pictures and the sound of a film. Raises InvalidRequest (MEDIA_FILE, NO_VIDEO, TENSOR_SIZE)."""
    if isinstance(video, VideoFrames):
        return video
    path = ctx.artifacts.input_path(video.name)
    with opened(path) as container:
        stream = _stream(container, video)
        images = _decoded(ctx, container, stream)
        rate = stream.average_rate or Fraction(1)
        audio = None
        if container.streams.audio:
            container.seek(0)
            audio = audio_of(container, ctx.check_cancelled)
    return VideoFrames(images, Fraction(rate), audio)


def size_of(ctx: Ctx, video: Video) -> tuple[int, int]:
    """Width and height."""
    if isinstance(video, VideoFrames):
        return video.images.shape[2], video.images.shape[1]
    with opened(ctx.artifacts.input_path(video.name)) as container:
        stream = _stream(container, video)
        return stream.width, stream.height


def keeps_streams(ctx: Ctx, video: VideoFile, container_format: str, codec: str) -> bool:
    """Whether the file's streams are already what is asked, so that nothing has to be encoded again."""
    with opened(ctx.artifacts.input_path(video.name)) as container:
        fits = container_format == "auto" or container_format in container.format.name.split(",")
        return fits and codec in ("auto", _stream(container, video).codec.name)


def _stream(container: InputContainer, video: VideoFile) -> VideoStream:
    if not container.streams.video:
        raise InvalidRequest("there are no pictures in this file", reason="NO_VIDEO", file=video.name)
    return container.streams.video[0]


def _decoded(ctx: Ctx, container: InputContainer, stream: VideoStream) -> Tensor:
    """[N, H, W, 3] in 0..1; frames wait as bytes, so that memory holds little more than the result."""
    frames: list[np.ndarray] = []
    bounded(stream.height, stream.width, 3)
    stream.codec_context.options = {"max_pixels": str(MAX_SIDE**2)}
    for frame in container.decode(stream):
        ctx.check_cancelled()
        bounded(len(frames) + 1, frame.height, frame.width, 3)
        frames.append(frame.to_ndarray(format="rgb24"))
    images = torch.empty(len(frames), *(frames[0].shape if frames else (0, 0, 3)))
    for number, levels in enumerate(frames):
        if levels.shape != frames[0].shape:
            raise InvalidRequest("the pictures of this film change their size", reason="MEDIA_FILE")
        torch.div(torch.from_numpy(levels), 255.0, out=images[number])
    return images


def write_mp4(ctx: Ctx, video: VideoFrames, texts: Mapping[str, str], file: BinaryIO) -> None:
    """H.264 and AAC; sound past the last picture is cut off. Raises InvalidRequest (ENCODING, AUDIO_CHANNELS)."""
    rate = _rounded(video.frame_rate)
    with encoding("mp4"), av.open(cast(Any, file), "w", format="mp4", options=_MP4) as output:
        output.metadata.update(texts)
        pictures = _picture_stream(output, "h264", rate, video.images, "yuv420p")
        sound = _sound_stream(output, video.audio) if video.audio is not None else None
        _encode_pictures(ctx, output, pictures, video.images)
        if sound is not None and video.audio is not None:
            length = math.ceil(video.audio.sample_rate / rate * video.images.shape[0])
            waveform = video.audio.waveform[..., :length].movedim(0, 1).flatten(1)  # C BT
            encode_audio(output, sound, waveform, video.audio.sample_rate)


def write_webm(
    ctx: Ctx, images: Tensor, codec: str, fps: float, crf: float, texts: Mapping[str, str], file: BinaryIO
) -> None:
    """VP9, or AV1 of 10 bits, of constant quality `crf`. Raises InvalidRequest (ENCODING)."""
    name, pixels = _WEBM_CODECS[codec]
    with encoding("webm"), av.open(cast(Any, file), "w", format="webm") as output:
        output.metadata.update(texts)
        stream = _picture_stream(output, name, _rounded(fps), images, pixels)
        stream.bit_rate = 0
        stream.options = {"crf": f"{crf:g}", **({"preset": _AV1_SPEED} if codec == "av1" else {})}
        try:
            stream.codec_context.open()
            leave_real_time()
            _encode_pictures(ctx, output, stream, images)
        finally:
            leave_real_time()


def remux(ctx: Ctx, video: VideoFile, texts: Mapping[str, str], file: BinaryIO) -> None:
    """The file's pictures, sounds and subtitles as they are, in an MP4 with more metadata.

    Raises InvalidRequest (MEDIA_FILE, ENCODING).
    """
    path = ctx.artifacts.input_path(video.name)
    with opened(path) as source, encoding("mp4"), av.open(cast(Any, file), "w", format="mp4", options=_MP4) as output:
        output.metadata.update({**source.metadata, **texts})
        kept = {
            stream.index: output.add_stream_from_template(cast(Any, stream), opaque=True)
            for stream in source.streams
            if stream.type in ("video", "audio", "subtitle")
        }
        for packet in source.demux():
            ctx.check_cancelled()
            if packet.stream.index in kept and packet.dts is not None:
                packet.stream = cast(Any, kept[packet.stream.index])
                output.mux(packet)


def _rounded(rate: Fraction | float) -> Fraction:
    return Fraction(round(rate * _RATE_PARTS), _RATE_PARTS)


def _picture_stream(output: OutputContainer, codec: str, rate: Fraction, images: Tensor, pixels: str) -> VideoStream:
    if codec == "h264" and (images.shape[1] % 2 or images.shape[2] % 2):
        raise InvalidRequest(
            "H.264 films need even sides: scale or crop the pictures first", reason="ODD_SIDES",
            width=images.shape[2], height=images.shape[1],
        )  # fmt: skip
    stream = cast(VideoStream, output.add_stream(codec, rate=rate))
    stream.width, stream.height, stream.pix_fmt = images.shape[2], images.shape[1], pixels
    return stream


def _sound_stream(output: OutputContainer, audio: Audio) -> AudioStream:
    stream = output.add_stream("aac", rate=audio.sample_rate)
    stream.layout = layout_of(audio.waveform.shape[1])
    return stream


def _encode_pictures(ctx: Ctx, output: OutputContainer, stream: VideoStream, images: Tensor) -> None:
    for image in images:
        ctx.check_cancelled()
        levels = (image[..., :3] * 255).nan_to_num(0.0).clamp(0, 255).byte().numpy()
        output.mux(stream.encode(av.VideoFrame.from_ndarray(levels, format="rgb24")))
    output.mux(stream.encode(None))
