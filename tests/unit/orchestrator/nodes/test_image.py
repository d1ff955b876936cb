"""Picture nodes: files, metadata, sizes, colours."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kit.errors import InvalidRequest, NotFound, Stopped
from orchestrator.graph.spec import NodeOutput
from orchestrator.nodes import image as nodes
from orchestrator.nodes.catalogue import builtin_nodes
from orchestrator.nodes.websocket_image import save_image_websocket
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, Recorder, context


def saved(root: Path, result: NodeOutput) -> list[Image.Image]:
    assert result.ui is not None
    pictures = [Image.open(root / item["filename"]) for item in result.ui["images"]]  # type: ignore[index,call-overload]  # Json
    for picture in pictures:
        picture.load()
    return pictures


def test_alpha_becomes_an_inverted_mask(tmp_path: Path) -> None:
    Image.fromarray(np.array([[[255, 0, 51, 255], [0, 0, 0, 0]]], np.uint8)).save(tmp_path / "a.png")
    picture, mask = nodes.load_image(context(tmp_path), "a.png")
    assert picture.shape == (1, 1, 2, 3) and picture[0, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])
    assert mask.tolist() == [[[0.0, 1.0]]]


def test_without_alpha_the_mask_is_64_zeros(tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    _, mask = nodes.load_image(context(tmp_path), "a.png")
    assert mask.shape == (1, 64, 64) and not mask.any()


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "a.png", transparency=1)
    colours, mask = nodes.load_image(context(tmp_path), "a.png")
    assert colours[0, 0].tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert mask.tolist() == [[[0.0, 1.0]]]


def test_exif_turns_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (4, 2), "white").save(tmp_path / "a.jpg", exif=exif)
    assert nodes.load_image(context(tmp_path), "a.jpg")[0].shape == (1, 4, 2, 3)


def test_every_frame_of_an_animation_is_loaded(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), (0, 80 * n, 0)) for n in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    picture, mask = nodes.load_image(context(tmp_path), "a.gif")
    assert picture.shape == (3, 2, 2, 3) and mask.shape[0] == 3
    assert picture[:, 0, 0, 1].tolist() == pytest.approx([0, 80 / 255, 160 / 255])


def test_wide_grey_is_brought_to_eight_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 255 * 200]], np.int32)).save(tmp_path / "a.tiff")
    picture, _ = nodes.load_image(context(tmp_path), "a.tiff")
    assert picture[0, 0, :, 0].tolist() == pytest.approx([0.0, 200 / 255])


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_a_typed_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InvalidRequest, match="cannot be read"):
        nodes.load_image(context(tmp_path), "a.png")
    with pytest.raises(InvalidRequest, match="cannot be read"):
        nodes.load_image_mask(context(tmp_path), "a.png", "red")


def test_a_picture_that_ends_early_is_a_typed_error(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match="cannot be read"):
        nodes.load_image(context(tmp_path), "a.png")


def test_a_missing_file_stays_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        nodes.load_image(context(tmp_path), "gone.png")


@pytest.mark.parametrize(("channel", "value"), [("red", 1.0), ("green", 0.2), ("blue", 0.0), ("alpha", 0.6)])
def test_channels_as_masks(tmp_path: Path, channel: str, value: float) -> None:
    Image.new("RGBA", (2, 3), (255, 51, 0, 102)).save(tmp_path / "a.png")
    (mask,) = nodes.load_image_mask(context(tmp_path), "a.png", channel)
    assert mask.shape == (1, 3, 2) and mask[0, 0, 0].item() == pytest.approx(value)


def test_the_fingerprint_is_the_content_of_the_file(tmp_path: Path) -> None:
    fingerprint = nodes.load_image.__node__.fingerprint
    (tmp_path / "a.png").write_bytes(b"one")
    first = fingerprint(context(tmp_path), {"image": "a.png"})
    (tmp_path / "a.png").write_bytes(b"two")
    assert fingerprint(context(tmp_path), {"image": "a.png"}) != first
    assert fingerprint(context(tmp_path), {}) is None


def test_saving_truncates_clips_and_carries_the_prompt(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    images = torch.tensor([[-0.5, 0.5, 1.5]]).reshape(1, 1, 1, 3).repeat(2, 2, 1, 1)
    prompt = {"1": {"class_type": "EmptyImage", "inputs": {"größe": 1}}}
    result = nodes.save_image(ctx, images, "p/x %batch_num%", prompt=prompt, extra_pnginfo={"workflow": {"a": [1]}})
    pictures = saved(tmp_path, result)
    assert len(pictures) == 2
    assert pictures[0].getpixel((0, 1)) == (0, 127, 255)
    assert pictures[0].text["prompt"] == json.dumps(prompt)  # type: ignore[attr-defined]  # PNG pictures have it
    assert pictures[0].text["workflow"] == '{"a": [1]}'  # type: ignore[attr-defined]
    assert isinstance(ctx.artifacts, FolderArtifacts)
    assert ctx.artifacts.saved == [("output", f"p/x {n}", ".png", (1, 2)) for n in (0, 1)]


def test_previews_go_to_temp_under_five_letters_that_depend_on_run_and_node(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    result = nodes.preview_image(ctx, torch.zeros(1, 2, 2, 3))
    assert isinstance(ctx.artifacts, FolderArtifacts)
    ((area, prefix, _, _),) = ctx.artifacts.saved
    assert area == "temp" and prefix.startswith("ComfyUI_temp_")
    assert len(prefix) == len("ComfyUI_temp_") + 5 and prefix[-5:].islower()
    assert saved(tmp_path, result)[0].info.get("prompt") is None


def test_saving_stops_between_pictures(tmp_path: Path) -> None:
    from dataclasses import replace

    def stop() -> None:
        raise Stopped("enough")

    ctx = replace(context(tmp_path), check_cancelled=stop)
    with pytest.raises(Stopped):
        nodes.save_image(ctx, torch.zeros(1, 2, 2, 3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("width", "height", "shape"), [(0, 0, (6, 4)), (0, 12, (12, 8)), (2, 0, (3, 2)), (5, 7, (7, 5))]
)
def test_scale_keeps_the_aspect_of_a_zero_side(width: int, height: int, shape: tuple[int, int]) -> None:
    (scaled,) = nodes.image_scale(context(), torch.rand(2, 6, 4, 3), "bilinear", width, height, "disabled")
    assert scaled.shape == (2, *shape, 3)


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
def test_every_method_keeps_a_flat_colour(method: str) -> None:
    (scaled,) = nodes.image_scale_by(context(), torch.full((1, 8, 6, 3), 0.4), method, 1.5)
    assert scaled.shape == (1, 12, 9, 3)
    assert scaled.numpy() == pytest.approx(0.4, abs=1 / 255)


def test_centre_crop_takes_the_middle() -> None:
    picture = torch.zeros(1, 2, 6, 3)
    picture[:, :, 2:4] = 1.0
    (scaled,) = nodes.image_scale(context(), picture, "area", 2, 2, "center")
    assert scaled.min().item() == 1.0


def test_invert_empty_and_mask() -> None:
    assert nodes.image_invert(context(), torch.full((1, 1, 1, 3), 0.25))[0].tolist() == [[[[0.75] * 3]]]
    (empty,) = nodes.empty_image(context(), 2, 3, 2, 0x3366FF)
    assert empty.shape == (2, 3, 2, 3) and empty[1, 2, 1].tolist() == pytest.approx([0.2, 0.4, 1.0])
    (mask,) = nodes.solid_mask(context(), 0.5, 4, 3)
    assert mask.shape == (1, 3, 4) and mask.unique().tolist() == [0.5]


def test_batch_fits_the_second_and_fills_missing_alpha() -> None:
    (batch,) = nodes.image_batch(context(), torch.zeros(1, 4, 4, 4), torch.ones(2, 8, 16, 3))
    assert batch.shape == (3, 4, 4, 4) and batch[1:].min().item() == 1.0
    with pytest.raises(InvalidRequest):
        nodes.image_batch(context(), torch.zeros(1, 4, 4, 1), torch.ones(2, 8, 16, 3))


def test_pictures_for_the_socket_are_lossless_and_leave_no_file(tmp_path: Path) -> None:
    reports = Recorder()
    image = torch.rand(2, 600, 7, 3, generator=torch.Generator().manual_seed(1))
    out = save_image_websocket(context(tmp_path, progress=reports), image)
    assert out == NodeOutput() and list(tmp_path.iterdir()) == []
    assert [report[:2] for report in reports.reports] == [(0, 2), (1, 2)]
    for (_, _, preview), frame in zip(reports.reports, image, strict=True):
        assert preview is not None and preview.media_type == "image/png"
        shown = np.asarray(Image.open(io.BytesIO(preview.data)))
        assert np.array_equal(shown, (frame.numpy() * 255).astype(np.uint8))


def test_pictures_for_the_socket_are_sent_each_time(tmp_path: Path) -> None:
    impl = builtin_nodes()["SaveImageWebsocket"]
    assert impl.fingerprint is not None and impl.fingerprint(context(tmp_path), {}) is None
    with pytest.raises(Stopped):
        save_image_websocket(context(tmp_path, progress=Recorder(stop_at=1)), torch.zeros(3, 8, 8, 3))
