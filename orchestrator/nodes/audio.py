"""Sound: cut, joined, mixed, made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, Link, OneOf
from orchestrator.nodes.bounds import MAX_SAMPLE_RATE, bounded
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio

if TYPE_CHECKING:
    from torch import Tensor

_MODULE = "comfy_extras.nodes_audio"
_AUDIO = (("AUDIO", "AUDIO"),)
_ANY_TIME = 2**64 - 1
AudioIn = Annotated[Audio, Link("AUDIO")]


@node("EmptyAudio", category="audio", display_name="Empty Audio", python_module=_MODULE, outputs=_AUDIO)
def empty_audio(
    ctx: Ctx, duration: Annotated[float, Float(min=0.0, max=_ANY_TIME, step=0.01)] = 60.0,
    sample_rate: Annotated[int, Int()] = 44100, channels: Annotated[int, Int(min=1, max=2)] = 2,
) -> tuple[Audio]:  # fmt: skip
    """Silence; `duration` in seconds."""
    import torch

    if not 0 < sample_rate <= MAX_SAMPLE_RATE:
        raise InvalidRequest(
            "the sample rate must be positive and not too high", reason="SAMPLE_RATE", sample_rate=sample_rate,
            limit=MAX_SAMPLE_RATE,
        )  # fmt: skip
    return (Audio(torch.zeros(bounded(1, channels, round(duration * sample_rate))), sample_rate),)


@node("TrimAudioDuration", category="audio", display_name="Trim Audio Duration", python_module=_MODULE, outputs=_AUDIO)
def trim_audio_duration(
    ctx: Ctx, audio: AudioIn,
    start_index: Annotated[float, Float(min=-_ANY_TIME, max=_ANY_TIME, step=0.01)] = 0.0,
    duration: Annotated[float, Float(min=0.0, step=0.01)] = 60.0,
) -> tuple[Audio]:  # fmt: skip
    """A part of a sound, in seconds; a negative start counts from the end."""
    heard(audio)
    length, rate = audio.waveform.shape[-1], audio.sample_rate
    start = round(start_index * rate) + (length if start_index < 0 else 0)
    start = max(0, min(start, length - 1))
    end = max(0, min(start + round(min(duration * rate, length)), length))
    if start >= end:
        raise InvalidRequest(
            "nothing would be left: give a longer duration or an earlier start", reason="AUDIO_RANGE",
            start_s=start_index, duration_s=duration,
        )  # fmt: skip
    return (Audio(audio.waveform[..., start:end], rate),)


@node(
    "SplitAudioChannels", category="audio", display_name="Split Audio Channels", python_module=_MODULE,
    outputs=(("AUDIO", "left"), ("AUDIO", "right")),
)  # fmt: skip
def split_audio_channels(ctx: Ctx, audio: AudioIn) -> tuple[Audio, Audio]:
    """Both channels of a stereo sound, each as mono."""
    heard(audio)
    if audio.waveform.shape[1] != 2:
        raise InvalidRequest(
            "only stereo has a left and a right", reason="AUDIO_CHANNELS", channels=audio.waveform.shape[1]
        )
    left, right = audio.waveform[:, :1], audio.waveform[:, 1:]
    return Audio(left, audio.sample_rate), Audio(right, audio.sample_rate)


@node("AudioConcat", category="audio", display_name="Audio Concat", python_module=_MODULE, outputs=_AUDIO)
def audio_concat(
    ctx: Ctx, audio1: AudioIn, audio2: AudioIn, direction: Annotated[str, OneOf(("after", "before"))] = "after"
) -> tuple[Audio]:
    """The second sound after or before the first; mono becomes stereo, the lower sample rate is raised."""
    import torch

    heard(audio1, audio2)
    first, second, rate = _at_one_rate(_at_least_stereo(audio1), _at_least_stereo(audio2))
    if first.shape[:2] != second.shape[:2]:
        raise _unlike(first, second)
    parts = (second, first) if direction == "before" else (first, second)
    bounded(*first.shape[:2], first.shape[2] + second.shape[2])
    return (Audio(torch.cat(parts, dim=2), rate),)


@node("AudioMerge", category="audio", display_name="Audio Merge", python_module=_MODULE, outputs=_AUDIO)
def audio_merge(
    ctx: Ctx, audio1: AudioIn, audio2: AudioIn,
    merge_method: Annotated[str, OneOf(("add", "mean", "subtract", "multiply"), options={})],
) -> tuple[Audio]:  # fmt: skip
    """Both sounds at once, as long as the first; what would be too loud is made quieter as a whole."""
    import torch

    heard(audio1, audio2)
    first, second, rate = _at_one_rate(audio1, audio2)
    length = first.shape[-1]
    second = torch.nn.functional.pad(second[..., :length], (0, max(0, length - second.shape[-1])))
    try:
        shape = torch.broadcast_shapes(first.shape, second.shape)  # type: ignore[no-untyped-call]  # torch's gap
        bounded(*shape)
    except RuntimeError as error:
        raise _unlike(first, second) from error
    match merge_method:
        case "add":
            merged = first + second
        case "mean":
            merged = (first + second) / 2
        case "subtract":
            merged = first - second
        case _:
            merged = first * second
    peak = merged.abs().max() if merged.numel() else torch.zeros(())
    return (Audio(merged / peak if peak > 1.0 else merged, rate),)


@node("AudioAdjustVolume", category="audio", display_name="Audio Adjust Volume", python_module=_MODULE, outputs=_AUDIO)
def audio_adjust_volume(
    ctx: Ctx, audio: AudioIn,
    # ComfyUI writes the default as 1.0.
    volume: Annotated[int, Int(default=1, min=-100, max=100, options={"default": 1.0})],
) -> tuple[Audio]:  # fmt: skip
    """Louder or quieter, in decibels."""
    heard(audio)
    return (Audio(audio.waveform * 10 ** (volume / 20), audio.sample_rate),)


def heard(*audios: Audio | None) -> None:
    """A silent film's sound is None. Raises InvalidRequest (NO_AUDIO) if there is one among these."""
    if None in audios:
        raise InvalidRequest("there is no sound here: the film it comes from is silent", reason="NO_AUDIO")


def _at_least_stereo(audio: Audio) -> Audio:
    if audio.waveform.shape[1] > 1:
        return audio
    return Audio(audio.waveform.expand(-1, 2, -1), audio.sample_rate)


def _at_one_rate(first: Audio, second: Audio) -> tuple[Tensor, Tensor, int]:
    from orchestrator.nodes.resample import resampled

    if first.sample_rate == second.sample_rate:
        return first.waveform, second.waveform, first.sample_rate
    rate = max(first.sample_rate, second.sample_rate)
    one, two = (resampled(audio.waveform, audio.sample_rate, rate) for audio in (first, second))
    return one, two, rate


def _unlike(first: Tensor, second: Tensor) -> InvalidRequest:
    return InvalidRequest(
        "these sounds have different channels or batches", reason="AUDIO_SHAPE",
        shapes=f"{list(first.shape)} and {list(second.shape)}",
    )  # fmt: skip
