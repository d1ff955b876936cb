"""Sound and film files, opened without trusting them. Imports PyAV: only node functions import it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from kit.errors import InvalidRequest

# Containers alone: a playlist would make FFmpeg open whatever else it names.
_FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,wav,w64,flac,mp3,aac,aiff,au,caf,amr,ac3,gif,m4v,h264,"
    "hevc,ivf"
)
_NOTHING_ELSE = {"format_whitelist": _FORMATS, "protocol_whitelist": "none"}

LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
"""FFmpeg's names of channel layouts, by channels."""


@contextmanager
def opened(path: Path) -> Iterator[InputContainer]:
    """The container of a file. Raises InvalidRequest (MEDIA_FILE) for what is none, is cut off or changes midway."""
    try:
        with path.open("rb") as file, av.open(file, "r", options=_NOTHING_ELSE, metadata_errors="ignore") as container:
            yield container
    except (av.FFmpegError, ValueError, OSError) as error:
        raise InvalidRequest(
            "this file cannot be read as sound or film", reason="MEDIA_FILE", file=path.name, cause=str(error)[:200]
        ) from error


@contextmanager
def encoding(kind: str) -> Iterator[None]:
    """What the encoder refuses is InvalidRequest (ENCODING)."""
    try:
        yield
    except (av.FFmpegError, ValueError) as error:
        raise InvalidRequest(
            "this cannot be written in that format", reason="ENCODING", format=kind, cause=str(error)[:200]
        ) from error


def layout_of(channels: int) -> str:
    """Raises InvalidRequest (AUDIO_CHANNELS)."""
    if channels not in LAYOUTS:
        raise InvalidRequest("files hold one to eight channels", reason="AUDIO_CHANNELS", channels=channels)
    return LAYOUTS[channels]
