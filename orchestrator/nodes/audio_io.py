"""Sound files: load, save, preview."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, BinaryIO

from orchestrator.graph.declare import node
from orchestrator.graph.spec import AudioRecord, InputFile, Json, NodeOutput, OneOf, Text
from orchestrator.nodes.audio import AudioIn, heard
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio

_MODULE = "comfy_extras.nodes_audio"
_AUDIO = (("AUDIO", "AUDIO"),)
_HIDDEN = (("prompt", "PROMPT"), ("extra_pnginfo", "EXTRA_PNGINFO"))
_PREVIEW_LETTERS = 5
Prefix = Annotated[str, Text()]
Texts = Mapping[str, object] | None


def _audio_digest(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    name = inputs.get("audio")
    return ctx.artifacts.digest(name) if isinstance(name, str) else None


@node(
    "LoadAudio", category="audio", display_name="Load Audio", python_module=_MODULE, outputs=_AUDIO,
    fingerprint=_audio_digest,
)  # fmt: skip
def load_audio(
    ctx: Ctx, audio: Annotated[str, InputFile("audio", also="video", upload="audio_upload")]
) -> tuple[Audio]:
    """The first sound of a sound or film file."""
    return (_loaded(ctx, audio),)


@node(
    "RecordAudio", category="audio", display_name="Record Audio", python_module=_MODULE, outputs=_AUDIO,
    fingerprint=_audio_digest,
)  # fmt: skip
def record_audio(ctx: Ctx, audio: Annotated[str, AudioRecord()]) -> tuple[Audio]:
    """A sound recorded in the browser, which uploads it."""
    return (_loaded(ctx, audio),)


def _loaded(ctx: Ctx, name: str) -> Audio:
    from orchestrator.nodes import audio_file

    return audio_file.load_audio(ctx.artifacts.input_path(name), ctx.check_cancelled)


@node(
    "SaveAudio", category="audio", display_name="Save Audio (FLAC)", python_module=_MODULE, output_node=True,
    hidden=_HIDDEN,
)  # fmt: skip
def save_audio(
    ctx: Ctx, audio: AudioIn, filename_prefix: Prefix = "audio/ComfyUI", *, prompt: Texts = None,
    extra_pnginfo: Texts = None,
) -> NodeOutput:  # fmt: skip
    """Writes each sound of the batch as FLAC of 16 bits, with the prompt in its metadata."""
    return _saved(ctx, "output", audio, filename_prefix, "flac", "", prompt, extra_pnginfo)


@node(
    "SaveAudioMP3", category="audio", display_name="Save Audio (MP3)", python_module=_MODULE, output_node=True,
    hidden=_HIDDEN,
)  # fmt: skip
def save_audio_mp3(
    ctx: Ctx, audio: AudioIn, filename_prefix: Prefix = "audio/ComfyUI",
    quality: Annotated[str, OneOf(("V0", "128k", "320k"))] = "V0", *, prompt: Texts = None, extra_pnginfo: Texts = None,
) -> NodeOutput:  # fmt: skip
    """Writes each sound of the batch as MP3; V0 is the best of variable bit rate."""
    return _saved(ctx, "output", audio, filename_prefix, "mp3", quality, prompt, extra_pnginfo)


@node(
    "SaveAudioOpus", category="audio", display_name="Save Audio (Opus)", python_module=_MODULE, output_node=True,
    hidden=_HIDDEN,
)  # fmt: skip
def save_audio_opus(
    ctx: Ctx, audio: AudioIn, filename_prefix: Prefix = "audio/ComfyUI",
    quality: Annotated[str, OneOf(("64k", "96k", "128k", "192k", "320k"))] = "128k", *, prompt: Texts = None,
    extra_pnginfo: Texts = None,
) -> NodeOutput:  # fmt: skip
    """Writes each sound of the batch as Opus, at the next sample rate that Opus knows."""
    return _saved(ctx, "output", audio, filename_prefix, "opus", quality, prompt, extra_pnginfo)


@node(
    "PreviewAudio", category="audio", display_name="Preview Audio", python_module=_MODULE, output_node=True,
    hidden=_HIDDEN,
)  # fmt: skip
def preview_audio(ctx: Ctx, audio: AudioIn, *, prompt: Texts = None, extra_pnginfo: Texts = None) -> NodeOutput:
    """Writes each sound of the batch to the temporary folder."""
    digest = hashlib.sha256(f"{ctx.run_id}/{ctx.node_id}".encode()).digest()
    letters = "".join(chr(ord("a") + byte % 26) for byte in digest[:_PREVIEW_LETTERS])
    return _saved(ctx, "temp", audio, f"ComfyUI_temp_{letters}", "flac", "", prompt, extra_pnginfo)


def _saved(
    ctx: Ctx, area: str, audio: Audio, prefix: str, kind: str, quality: str, prompt: Texts, extra: Texts
) -> NodeOutput:
    from orchestrator.nodes.audio_file import write_audio
    from orchestrator.nodes.picture_file import metadata

    heard(audio)
    texts = metadata(prompt, extra)
    stored: list[Json] = []
    for number, waveform in enumerate(audio.waveform):
        ctx.check_cancelled()

        def write(file: BinaryIO, waveform: object = waveform) -> None:
            write_audio(waveform, audio.sample_rate, kind, quality, texts, file)  # type: ignore[arg-type]  # bound above

        name = prefix.replace("%batch_num%", str(number))
        stored.append(dict(ctx.artifacts.save(area, name, f".{kind}", (0, 0), write).as_ui()))
    return NodeOutput(ui={"audio": stored})
