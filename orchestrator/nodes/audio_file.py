"""Sound files to waveforms and back. Imports torch and PyAV: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import torch
from av.audio import AudioStream
from av.audio.resampler import AudioResampler
from av.container import InputContainer, OutputContainer
from torch import Tensor

from kit.errors import InvalidRequest
from orchestrator.nodes.bounds import bounded
from orchestrator.nodes.media_file import encoding, layout_of, opened
from orchestrator.nodes.resample import resampled
from orchestrator.values.media import Audio

OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_CODECS = {"flac": "flac", "mp3": "libmp3lame", "opus": "libopus"}
_BIT_RATES = {"64k": 64_000, "96k": 96_000, "128k": 128_000, "192k": 192_000, "320k": 320_000}


def load_audio(path: Path, check_cancelled: Callable[[], None]) -> Audio:
    """The first sound of a file. Raises InvalidRequest (MEDIA_FILE, NO_AUDIO, TENSOR_SIZE)."""
    with opened(path) as container:
        found = audio_of(container, check_cancelled)
    if found is None:
        raise InvalidRequest("there is no sound in this file", reason="NO_AUDIO", file=path.name)
    return found


def audio_of(container: InputContainer, check_cancelled: Callable[[], None]) -> Audio | None:
    """The first sound of an open file from where it stands; None: it has none. Raises as `load_audio`."""
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    to_float = AudioResampler(format="fltp")
    parts: list[np.ndarray] = []
    length = 0
    for frame in container.decode(stream):
        check_cancelled()
        for piece in to_float.resample(frame):
            parts.append(piece.to_ndarray())  # C T
            length += piece.samples
            bounded(parts[0].shape[0], length)
    if not parts:
        return None
    waveform = torch.from_numpy(np.concatenate(parts, axis=1)[None])  # 1 C T
    return Audio(waveform, stream.codec_context.sample_rate)


def write_audio(waveform: Tensor, rate: int, kind: str, quality: str, texts: Mapping[str, str], file: BinaryIO) -> None:
    """Writes `waveform` [C, T] as "flac", "mp3" or "opus" with texts as metadata.

    Opus takes five rates only: the next higher one is used. Raises InvalidRequest (ENCODING, AUDIO_CHANNELS).
    """
    if kind == "opus" and rate not in OPUS_RATES:
        wanted = next((known for known in OPUS_RATES if known > rate), OPUS_RATES[-1])
        waveform, rate = resampled(waveform, rate, wanted), wanted
    with encoding(kind), av.open(cast(Any, file), "w", format=kind) as output:
        output.metadata.update(texts)
        stream = output.add_stream(_CODECS[kind], rate=rate)
        assert isinstance(stream, AudioStream)
        stream.layout = layout_of(waveform.shape[0])
        if kind == "mp3" and quality == "V0":
            stream.codec_context.qscale = True  # of quality 0, the best
        elif kind != "flac":
            stream.bit_rate = _BIT_RATES[quality]
        encode_audio(output, stream, waveform, rate)


def encode_audio(output: OutputContainer, stream: AudioStream, waveform: Tensor, rate: int) -> None:
    """Sends `waveform` [C, T] to a stream, to the end."""
    for frame in _frames(waveform, rate):
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _frames(waveform: Tensor, rate: int) -> Iterator[av.AudioFrame]:
    """A second each."""
    layout = layout_of(waveform.shape[0])
    for start in range(0, waveform.shape[1], rate):
        samples = np.ascontiguousarray(waveform[:, start : start + rate].numpy(), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, start
        yield frame
