"""Sound nodes, sound files in real codecs, resampling."""

from __future__ import annotations

import hashlib
import math
import wave
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import torch

from kit.errors import InvalidRequest
from orchestrator.graph.spec import NodeOutput
from orchestrator.nodes import audio as nodes
from orchestrator.nodes import audio_io
from orchestrator.nodes.resample import resampled
from orchestrator.values.media import Audio
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, context


def tone(hertz: float = 440.0, rate: int = 48000, seconds: float = 0.5, channels: int = 2, level: float = 0.5) -> Audio:
    time = torch.arange(round(rate * seconds)) / rate
    return Audio((level * torch.sin(2 * math.pi * hertz * time)).expand(1, channels, -1), rate)


def steady(value: float, length: int, channels: int = 1, rate: int = 10) -> Audio:
    return Audio(torch.full((1, channels, length), value), rate)


def test_silence_has_its_length_and_a_bound() -> None:
    (found,) = nodes.empty_audio(context(), 1.5, 8000, 1)
    assert found.waveform.shape == (1, 1, 12000) and found.sample_rate == 8000
    with pytest.raises(InvalidRequest, match="too large"):
        nodes.empty_audio(context(), 1e19)
    for rate in (0, 10**400):
        with pytest.raises(InvalidRequest, match="positive"):
            nodes.empty_audio(context(), 1.0, rate)


@pytest.mark.parametrize(
    ("start", "duration", "found"),
    [
        (0.2, 0.3, [2, 3, 4]),
        (0.8, 1e308, [8, 9]),
        (-0.2, 9.0, [8, 9]),
        (0.8, 60.0, [8, 9]),
        (-99.0, 0.1, [0]),
        (99.0, 1.0, [9]),
    ],
)
def test_trimming(start: float, duration: float, found: list[float]) -> None:
    given = Audio(torch.arange(10.0).reshape(1, 1, 10), 10)
    assert nodes.trim_audio_duration(context(), given, start, duration)[0].waveform.flatten().tolist() == found


def test_trimming_to_nothing_is_a_typed_error() -> None:
    with pytest.raises(InvalidRequest, match="nothing would be left"):
        nodes.trim_audio_duration(context(), steady(1.0, 10), 0.0, 0.01)
    with pytest.raises(InvalidRequest, match="nothing would be left"):
        nodes.trim_audio_duration(context(), steady(1.0, 0), 0.0, 1.0)


def test_the_sound_of_a_silent_film_is_a_typed_error(tmp_path: Path) -> None:
    nothing, some = cast(Audio, None), tone()
    for use in (
        lambda: nodes.trim_audio_duration(context(), nothing),
        lambda: nodes.split_audio_channels(context(), nothing),
        lambda: nodes.audio_concat(context(), some, nothing),
        lambda: nodes.audio_merge(context(), nothing, some, "add"),
        lambda: nodes.audio_adjust_volume(context(), nothing, 1),
        lambda: audio_io.save_audio(context(tmp_path), nothing),
    ):
        with pytest.raises(InvalidRequest, match="silent"):
            use()


def test_channels_are_split() -> None:
    left, right = nodes.split_audio_channels(context(), Audio(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), 10))
    assert left.waveform.tolist() == [[[1.0, 2.0]]] and right.waveform.tolist() == [[[3.0, 4.0]]]
    with pytest.raises(InvalidRequest, match="left and a right"):
        nodes.split_audio_channels(context(), steady(1.0, 4))


def test_joining_makes_stereo_and_raises_the_rate() -> None:
    one, two = steady(0.1, 2), steady(0.2, 1, channels=2)
    (after,) = nodes.audio_concat(context(), one, two)
    assert after.waveform[0].tolist() == [pytest.approx([0.1, 0.1, 0.2])] * 2
    (before,) = nodes.audio_concat(context(), one, two, "before")
    assert before.waveform[0, 0].tolist() == pytest.approx([0.2, 0.1, 0.1])
    (mixed,) = nodes.audio_concat(context(), tone(rate=24000), tone(rate=48000))
    assert mixed.sample_rate == 48000 and mixed.waveform.shape == (1, 2, 48000)
    with pytest.raises(InvalidRequest, match="different channels"):
        nodes.audio_concat(context(), two, steady(0.1, 2, channels=6))


@pytest.mark.parametrize(
    ("method", "found"),
    [
        ("add", [0.75, 0.5, 0.5]),
        ("mean", [0.375, 0.25, 0.25]),
        ("subtract", [0.25, 0.5, 0.5]),
        ("multiply", [0.125, 0.0, 0.0]),
    ],
)
def test_merging_keeps_the_firsts_length(method: str, found: list[float]) -> None:
    ctx = context()
    assert nodes.audio_merge(ctx, steady(0.5, 3), steady(0.25, 1), method)[0].waveform.flatten().tolist() == found
    assert nodes.audio_merge(ctx, steady(0.5, 3), steady(0.25, 9), method)[0].waveform.shape[-1] == 3


def test_merging_is_made_quieter_only_where_it_is_too_loud() -> None:
    first = Audio(torch.tensor([[[0.5, -1.5]]]), 10)
    (found,) = nodes.audio_merge(context(), first, steady(-0.5, 2), "add")
    assert found.waveform.flatten().tolist() == [0.0, -1.0]
    with pytest.raises(InvalidRequest, match="different channels"):
        nodes.audio_merge(context(), steady(0.1, 2, channels=3), steady(0.1, 2, channels=2), "add")


def test_volume_is_in_decibels() -> None:
    for volume, factor in ((0, 1.0), (20, 10.0), (-6, 0.501187)):
        (found,) = nodes.audio_adjust_volume(context(), steady(0.5, 2), volume)
        assert found.waveform.flatten().tolist() == pytest.approx([0.5 * factor] * 2, rel=1e-5)


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 48000), (48000, 44100), (48000, 8000), (22050, 22051)])
def test_resampling_keeps_a_tone(rate: int, wanted: int) -> None:
    given = tone(rate=rate, seconds=0.25).waveform
    found = resampled(given, rate, wanted)
    assert found.shape[-1] == -(-given.shape[-1] * wanted // rate)
    expected = tone(rate=wanted, seconds=0.25).waveform[..., : found.shape[-1]]
    inside = slice(200, -200)
    assert (found[..., inside] - expected[..., inside]).abs().max() < 0.01


def test_resampling_removes_what_the_lower_rate_cannot_carry() -> None:
    found = resampled(tone(hertz=7000, rate=48000).waveform, 48000, 8000)
    assert found[..., 100:-100].abs().max() < 0.02
    with pytest.raises(InvalidRequest, match="sample rate"):
        resampled(torch.zeros(1, 1, 5), 10**9, 48000)
    assert resampled(torch.zeros(1, 2, 0), 8000, 48000).shape == (1, 2, 0)


# --- files -------------------------------------------------------------------------------------------------------


def stored(root: Path, result: NodeOutput) -> list[Path]:
    assert result.ui is not None
    return [root / item["filename"] for item in result.ui["audio"]]  # type: ignore[index,call-overload]  # Json


def test_flac_keeps_every_sample_and_the_prompt(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    given = tone()
    two = Audio(torch.cat((given.waveform, given.waveform / 2)), given.sample_rate)
    result = audio_io.save_audio(
        ctx, two, "a/x %batch_num%", prompt={"1": {"größe": 1}}, extra_pnginfo={"workflow": [1]}
    )
    assert isinstance(ctx.artifacts, FolderArtifacts)
    assert ctx.artifacts.saved == [("output", f"a/x {n}", ".flac", (0, 0)) for n in (0, 1)]
    files = stored(tmp_path, result)
    with av.open(files[0]) as container:
        assert container.streams.audio[0].codec.name == "flac" and container.streams.audio[0].rate == 48000
        metadata = {key.lower(): value for key, value in container.metadata.items()}
    assert metadata == {"prompt": '{"1": {"gr\\u00f6\\u00dfe": 1}}', "workflow": "[1]"} | {
        key: value for key, value in metadata.items() if key == "encoder"
    }
    (loaded,) = audio_io.load_audio(ctx, files[1].name)
    assert loaded.sample_rate == 48000 and loaded.waveform.shape == (1, 2, 24000)
    assert (loaded.waveform - two.waveform[1:]).abs().max() < 2 / 32768


@pytest.mark.parametrize("quality", ["V0", "128k", "320k"])
def test_mp3(tmp_path: Path, quality: str) -> None:
    ctx = context(tmp_path)
    (file,) = stored(tmp_path, audio_io.save_audio_mp3(ctx, tone(seconds=1.0), "x", quality, prompt={"1": {}}))
    with av.open(file) as container:
        assert container.format.name == "mp3" and container.metadata["prompt"] == '{"1": {}}'
    (loaded,) = audio_io.load_audio(ctx, file.name)
    assert loaded.waveform.shape[1] == 2
    assert loaded.waveform[0, 0, 5000:40000].abs().max().item() == pytest.approx(0.5, abs=0.05)


def test_mp3_qualities_differ_in_size(tmp_path: Path) -> None:
    noise = Audio(torch.rand(1, 2, 48000, generator=torch.Generator().manual_seed(1)) - 0.5, 48000)
    sizes = [
        stored(tmp_path, audio_io.save_audio_mp3(context(tmp_path), noise, quality, quality))[0].stat().st_size
        for quality in ("128k", "V0", "320k")
    ]
    assert sizes[0] < sizes[1] <= sizes[2]


@pytest.mark.parametrize(("rate", "written"), [(48000, 48000), (44100, 48000), (11025, 12000), (96000, 48000)])
def test_opus_takes_its_own_rates(tmp_path: Path, rate: int, written: int) -> None:
    ctx = context(tmp_path)
    given = tone(rate=rate, channels=1, seconds=1.0)
    (file,) = stored(tmp_path, audio_io.save_audio_opus(ctx, given, "x", "96k", prompt={"1": {}}))
    (loaded,) = audio_io.load_audio(ctx, file.name)
    assert loaded.sample_rate == 48000  # what Opus is decoded to, whatever it was made from
    assert loaded.waveform[0, 0, 9000:40000].abs().max().item() == pytest.approx(0.5, abs=0.05)
    assert loaded.waveform.shape[-1] == pytest.approx(48000, abs=1500)
    head = file.read_bytes().partition(b"OpusHead")[2]
    assert int.from_bytes(head[4:8], "little") == written


def test_previews_are_flac_in_temp(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    audio_io.preview_audio(ctx, tone(channels=1))
    assert isinstance(ctx.artifacts, FolderArtifacts)
    ((area, prefix, ending, _),) = ctx.artifacts.saved
    assert (area, ending) == ("temp", ".flac") and prefix.startswith("ComfyUI_temp_") and len(prefix) == 18


def pcm(path: Path, width: int, samples: bytes, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(samples)


@pytest.mark.parametrize(
    ("width", "samples"),
    [
        (1, np.array([128, 192, 0], np.uint8)),
        (2, np.array([0, 16384, -32768], "<i2")),
        (4, np.array([0, 2**30, -(2**31)], "<i4")),
    ],
)
def test_pcm_of_every_width_has_the_same_scale(tmp_path: Path, width: int, samples: np.ndarray) -> None:
    pcm(tmp_path / "a.wav", width, samples.tobytes())
    (found,) = audio_io.load_audio(context(tmp_path), "a.wav")
    assert found.waveform.dtype == torch.float32 and found.waveform.tolist() == [[[0.0, 0.5, -1.0]]]
    assert found.sample_rate == 8000


def test_recordings_are_files_too(tmp_path: Path) -> None:
    pcm(tmp_path / "a.wav", 2, np.array([1, 2, 3, 4], "<i2").tobytes(), channels=2)
    (found,) = audio_io.record_audio(context(tmp_path), "a.wav")
    assert (found.waveform * 32768).tolist() == [[[1.0, 3.0], [2.0, 4.0]]]
    fingerprint = audio_io.record_audio.__node__.fingerprint
    assert (
        fingerprint(context(tmp_path), {"audio": "a.wav"})
        == hashlib.sha256((tmp_path / "a.wav").read_bytes()).hexdigest()
    )
    assert fingerprint(context(tmp_path), {}) is None


@pytest.mark.parametrize(
    "content", [b"", b"no sound", b"RIFF\xff\xff\xff\x7fWAVEfmt ", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"]
)
def test_what_is_no_sound_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"cannot be read|no sound"):
        audio_io.load_audio(context(tmp_path), "a.wav")


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    pcm(tmp_path / "b.wav", 2, bytes(16000))
    (tmp_path / "a.wav").write_text("ffconcat version 1.0\nfile b.wav\n")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        audio_io.load_audio(context(tmp_path), "a.wav")


def test_a_long_sound_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pcm(tmp_path / "a.wav", 2, bytes(32000))
    monkeypatch.setattr("orchestrator.nodes.bounds.MAX_ELEMENTS", 10_000)
    with pytest.raises(InvalidRequest, match="too large"):
        audio_io.load_audio(context(tmp_path), "a.wav")


def test_what_a_format_cannot_hold_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be written"):
        audio_io.save_audio_mp3(context(tmp_path), tone(rate=96000), "x", "V0")
    with pytest.raises(InvalidRequest, match="one to eight"):
        audio_io.save_audio(context(tmp_path), steady(0.1, 20, channels=9), "x")
