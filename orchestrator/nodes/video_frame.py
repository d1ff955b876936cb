"""One picture through a video codec. Imports torch: only node functions import it."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kit.errors import InvalidRequest

_SMALLEST = 2


def through_h264(picture: Tensor, crf: int) -> Tensor:
    """`picture` [H, W, 3] as an H.264 frame (4:2:0) shows it; odd sides lose a line. `crf` above 51 is like 51."""
    height, width = (side - side % 2 for side in picture.shape[:2])
    if min(height, width) < _SMALLEST:
        raise InvalidRequest("the picture is too small for a video frame", reason="PICTURE_SIZE", at_least=_SMALLEST)
    levels = (picture[:height, :width] * 255.0).clamp(0, 255).to(torch.uint8).numpy()
    try:
        shown = _decoded(_encoded(levels, crf))
    except av.FFmpegError as error:
        raise InvalidRequest(
            "the video encoder refuses this picture", reason="VIDEO_ENCODER", width=width, height=height,
            cause=str(error)[:200],
        ) from error  # fmt: skip
    return torch.from_numpy(shown).float() / 255.0


def _encoded(levels: npt.NDArray[np.uint8], crf: int) -> io.BytesIO:
    height, width = levels.shape[:2]
    stored = io.BytesIO()
    with av.open(stored, "w", format="mp4") as target:
        stream = target.add_stream("libx264", rate=1, options={"crf": str(crf), "preset": "veryfast"})
        stream.width, stream.height = width, height
        frame = av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(format="yuv420p")
        target.mux(stream.encode(frame))
        target.mux(stream.encode())
    stored.seek(0)
    return stored


def _decoded(stored: io.BytesIO) -> npt.NDArray[np.uint8]:
    with av.open(stored, "r") as source:
        return np.asarray(next(source.decode(video=0)).to_ndarray(format="rgb24"), dtype=np.uint8)
