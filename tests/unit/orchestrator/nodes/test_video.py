"""Films in real codecs: made, saved, loaded, taken apart."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch
from torch import Tensor

from kit.errors import InvalidRequest, NotFound, Stopped
from orchestrator.graph.spec import NodeOutput
from orchestrator.nodes import video as nodes
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio, Video, VideoFile, VideoFrames
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, context
from tests.unit.orchestrator.nodes.test_audio import tone


def pictures(count: int = 6, width: int = 32, height: int = 16, channels: int = 3) -> Tensor:
    """Grey, brighter from frame to frame."""
    levels = torch.linspace(0.2, 0.8, count).reshape(count, 1, 1, 1)
    return levels.expand(count, height, width, channels)


def film(ctx: Ctx, images: Tensor | None = None, fps: float = 8.0, audio: Audio | None = None) -> Video:
    return nodes.create_video(ctx, pictures() if images is None else images, fps, audio=audio)[0]


def stored(root: Path, result: NodeOutput) -> Path:
    assert result.ui is not None and result.ui["animated"] == [True]
    (item,) = result.ui["images"]
    return root / str(item["filename"])  # type: ignore[index,call-overload]  # Json


def test_a_made_film_gives_back_its_parts() -> None:
    sound = tone()
    images, audio, fps = nodes.get_video_components(context(), film(context(), fps=7.5, audio=sound))
    assert torch.equal(images, pictures()) and audio is sound and fps == 7.5


def test_mp4_with_sound_and_prompt(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = nodes.save_video(
        ctx, film(ctx, audio=tone(seconds=2.0)), "v/x", prompt={"1": {}}, extra_pnginfo={"workflow": {"a": 1}}
    )
    assert isinstance(ctx.artifacts, FolderArtifacts)
    assert ctx.artifacts.saved == [("output", "v/x", ".mp4", (32, 16))]
    path = stored(tmp_path, result)
    with av.open(path) as container:
        assert (container.metadata["prompt"], container.metadata["workflow"]) == ('{"1": {}}', '{"a": 1}')
        assert [stream.codec.name for stream in container.streams] == ["h264", "aac"]
        assert container.streams.video[0].pix_fmt == "yuv420p"
    (loaded,) = nodes.load_video(ctx, path.name)
    images, audio, fps = nodes.get_video_components(ctx, loaded)
    assert images.shape == (6, 16, 32, 3) and fps == 8.0
    assert (images - pictures()).abs().max() < 0.03
    assert audio is not None and audio.sample_rate == 48000 and audio.waveform.shape[:2] == (1, 2)
    assert audio.waveform.shape[-1] == pytest.approx(48000 * 6 / 8, abs=2100)  # cut to the pictures, whole packets


def test_a_silent_film_has_no_sound(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    path = stored(tmp_path, nodes.save_video(ctx, film(ctx)))
    assert nodes.get_video_components(ctx, VideoFile(path.name))[1] is None


@pytest.mark.parametrize(("codec", "name"), [("vp9", "vp9"), ("av1", "libdav1d")])
def test_webm(tmp_path: Path, codec: str, name: str) -> None:
    ctx = context(tmp_path)
    images = pictures(width=64, height=64, channels=4)
    path = stored(tmp_path, nodes.save_webm(ctx, images, "x", codec, 12.5, 20.0, prompt={"1": {}}))
    assert path.suffix == ".webm"
    with av.open(path) as container:
        assert container.streams.video[0].codec.name == name
        assert {key.lower(): value for key, value in container.metadata.items()}["prompt"] == '{"1": {}}'
    found, _, fps = nodes.get_video_components(ctx, VideoFile(path.name))
    assert fps == 12.5 and found.shape == (6, 64, 64, 3)
    assert (found - images[..., :3]).abs().max() < 0.05


def policies() -> set[int]:
    """Scheduling policies of all threads of this process."""
    return {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}


def test_av1_leaves_no_thread_with_real_time_priority(tmp_path: Path) -> None:
    """SVT-AV1 takes it where it may (as root), and new threads inherit it."""
    seen: list[set[int]] = []
    ctx = replace(context(tmp_path), check_cancelled=lambda: seen.append(policies()))
    nodes.save_webm(ctx, pictures(width=64, height=64), "x", "av1", 12.5, 30.0)
    assert seen and all(found == {os.SCHED_OTHER} for found in seen)
    assert policies() == {os.SCHED_OTHER}


def test_a_file_with_the_asked_streams_is_not_encoded_again(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    first = stored(tmp_path, nodes.save_video(ctx, film(ctx, audio=tone()), prompt={"old": {}}, extra_pnginfo={"w": 1}))
    again = stored(tmp_path, nodes.save_video(ctx, VideoFile(first.name), "y", "mp4", "h264", prompt={"new": {}}))

    def packets(path: Path) -> list[bytes]:
        with av.open(path) as container:
            return [bytes(packet) for packet in container.demux(video=0)]

    assert packets(first) == packets(again)
    with av.open(again) as container:
        assert (container.metadata["prompt"], container.metadata["w"]) == ('{"new": {}}', "1")
        assert len(container.streams.audio) == 1


def test_other_streams_are_encoded_where_mp4_is_asked(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    webm = stored(tmp_path, nodes.save_webm(ctx, pictures(width=64, height=64), "x", "vp9"))
    kept = stored(tmp_path, nodes.save_video(ctx, VideoFile(webm.name), "a"))
    made = stored(tmp_path, nodes.save_video(ctx, VideoFile(webm.name), "b", "auto", "h264"))
    for path, name in ((kept, "vp9"), (made, "h264")):
        with av.open(path) as container:
            assert container.format.name.startswith("mov") and container.streams.video[0].codec.name == name


def test_odd_sides_and_endless_films_are_typed_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path)
    with pytest.raises(InvalidRequest, match="even sides"):
        nodes.save_video(ctx, film(ctx, pictures(width=33)))
    path = stored(tmp_path, nodes.save_video(ctx, film(ctx)))
    monkeypatch.setattr("orchestrator.nodes.bounds.MAX_ELEMENTS", 5 * 32 * 16 * 3)
    with pytest.raises(InvalidRequest, match="too large"):
        nodes.get_video_components(ctx, VideoFile(path.name))


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx = context(tmp_path)
    path = stored(tmp_path, nodes.save_video(ctx, film(ctx)))
    monkeypatch.setattr("orchestrator.nodes.video_file.MAX_SIDE", 16)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        nodes.get_video_components(ctx, VideoFile(path.name))


def test_frame_rates_are_rounded_to_thousandths(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    video = VideoFrames(pictures(), Fraction(24000, 1001))
    path = stored(tmp_path, nodes.save_video(ctx, video))
    assert nodes.get_video_components(ctx, VideoFile(path.name))[2] == pytest.approx(23.976, abs=1e-3)


@pytest.mark.parametrize("content", [b"", b"no film", b"\0\0\0\x20ftypisom" + bytes(60)])
def test_what_is_no_film_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    (video,) = nodes.load_video(context(tmp_path), "a.mp4")
    for use in (nodes.get_video_components, nodes.save_video):
        with pytest.raises(InvalidRequest, match=r"cannot be read|no pictures"):
            use(context(tmp_path), video)
    with pytest.raises(NotFound):
        nodes.load_video(context(tmp_path), "gone.mp4")


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    from orchestrator.nodes.audio_io import save_audio

    save_audio(context(tmp_path), tone(), "x")
    with pytest.raises(InvalidRequest, match="no pictures"):
        nodes.get_video_components(context(tmp_path), VideoFile("x_00001_.flac"))


def test_a_cancelled_run_stops_between_pictures(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    path = stored(tmp_path, nodes.save_video(ctx, film(ctx)))

    def cancelled() -> None:
        raise Stopped("enough")

    stopped = replace(ctx, check_cancelled=cancelled)
    for video in (VideoFile(path.name), film(ctx)):
        with pytest.raises(Stopped):
            nodes.save_video(stopped, video, codec="auto")
    with pytest.raises(Stopped):
        nodes.get_video_components(stopped, VideoFile(path.name))


def test_the_fingerprint_is_the_content_of_the_file(tmp_path: Path) -> None:
    fingerprint = nodes.load_video.__node__.fingerprint
    (tmp_path / "a.mp4").write_bytes(b"one")
    first = fingerprint(context(tmp_path), {"file": "a.mp4"})
    (tmp_path / "a.mp4").write_bytes(b"two")
    assert fingerprint(context(tmp_path), {"file": "a.mp4"}) != first
