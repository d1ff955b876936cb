"""Model files that are damaged, foreign or hostile: the run says what is wrong with which, and nothing else suffers."""

from __future__ import annotations

import io
import os
import pickle
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support import broken_files, graphs
from tests.support.asking import Asking
from tests.support.broken_files import Folder
from tests.support.graphs import CHECKPOINT, node

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]

Write = Callable[[Path, Path], object]
"""Writes a broken file at the first place, given the good checkpoint."""


def _flipped(path: Path, good: Path) -> None:
    """A checkpoint whose header is noise in its middle."""
    broken_files.cut(good, path, 200_000)
    content = bytearray(path.read_bytes())
    content[5000:5040] = os.urandom(40)
    path.write_bytes(content)


def _without(part: str) -> Write:
    """The whole checkpoint without the tensors whose name has `part`."""

    def write(path: Path, good: Path) -> None:
        tensors = broken_files.header_of(good)
        kept = {name: entry for name, entry in tensors.items() if part not in name}
        assert len(kept) < len(tensors)
        broken_files.write_safetensors(path, kept)

    return write


def _misshapen(part: str, shape: tuple[int, ...]) -> Write:
    """The whole checkpoint with another shape for the tensors whose name has `part`."""

    def write(path: Path, good: Path) -> None:
        tensors = broken_files.header_of(good)
        wrong = {name: (dtype, shape if part in name else own) for name, (dtype, own) in tensors.items()}
        assert wrong != tensors
        broken_files.write_safetensors(path, wrong)

    return write


def _nothing(path: Path, good: Path) -> None:
    path.write_bytes(b"")


DAMAGED: dict[str, tuple[Write, str]] = {
    "empty": (_nothing, "WEIGHTS_TRUNCATED"),
    "text": (lambda path, good: path.write_text("hello, I am no model at all\n" * 50), "WEIGHTS_FORMAT"),
    "web-page": (lambda path, good: path.write_text("<!DOCTYPE html><html>404</html>"), "WEIGHTS_FORMAT"),
    "lfs-pointer": (
        lambda path, good: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        "WEIGHTS_FORMAT",
    ),
    "noise": (lambda path, good: path.write_bytes(b"\x11" + os.urandom(4096)), "WEIGHTS_FORMAT"),
    "cut-in-the-length": (lambda path, good: broken_files.cut(good, path, 5), "WEIGHTS_TRUNCATED"),
    "cut-in-the-header": (lambda path, good: broken_files.cut(good, path, 4000), "WEIGHTS_HEADER"),
    "cut-in-the-data": (lambda path, good: broken_files.cut(good, path, 2_000_000), "WEIGHTS_TRUNCATED"),
    "noise-in-the-header": (_flipped, "WEIGHTS_HEADER"),
    "huge-header": (lambda path, good: path.write_bytes(struct.pack("<Q", 1 << 62) + b"{" * 64), "WEIGHTS_HEADER"),
    "header-of-a-gigabyte": (
        lambda path, good: path.write_bytes(struct.pack("<Q", 1 << 30) + b"{" * 64),
        "WEIGHTS_HEADER",
    ),
    "no-tensors": (lambda path, good: broken_files.write_safetensors(path, {}), "ARCH_UNKNOWN"),
    "missing-tensor": (_without("middle_block.1.transformer_blocks.0.attn2.to_v"), "INVALID_MODEL"),
    "missing-text-layer": (_without("text_model.encoder.layers.3.mlp.fc1"), "INVALID_MODEL"),
    "missing-vae-tensor": (_without("first_stage_model.decoder.mid.block_1.conv1.weight"), "INVALID_MODEL"),
    "wrong-shape": (_misshapen("middle_block.0.in_layers.2.weight", (8, 8, 3, 3)), "INVALID_MODEL"),
    "wrong-rank": (_misshapen("input_blocks.0.0.weight", (64, 4)), "INVALID_MODEL"),
}
FOREIGN = {
    "SD2": broken_files.SD2,
    "SDXL": broken_files.SDXL,
    "Flux": broken_files.FLUX,
    "LoRA": broken_files.LORA_OF_NOTHING,
}


def _refused(asking: Asking, graph: graphs.Graph, file: str, *reasons: str) -> str:
    """The message of a run that fails with one of `reasons` and names the file."""
    error, failed = asking.fail(graph)
    assert failed.reason in reasons, (failed.reason, failed.exception_message)
    assert error["exception_type"] in ("InvalidModel", "Unsupported", "NotFound")
    assert file in error["exception_message"] and file in failed.facts.values()
    return str(error["exception_message"])


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_checkpoint_is_named(asking: Asking, broken: Folder, name: str) -> None:
    write, reason = DAMAGED[name]
    file = f"{name}.safetensors"
    write(broken.place("checkpoints", file), broken.root / "checkpoints" / CHECKPOINT)
    _refused(asking, graphs.text_to_image(file), file, reason)


@pytest.mark.parametrize("family", FOREIGN)
def test_a_checkpoint_of_another_family_is_recognised(asking: Asking, broken: Folder, family: str) -> None:
    file = f"{family}.safetensors"
    broken_files.write_safetensors(broken.place("checkpoints", file), FOREIGN[family])
    assert family in _refused(asking, graphs.text_to_image(file), file, "ARCH_UNKNOWN").replace(file, "")


def test_a_vae_is_no_checkpoint(asking: Asking, broken: Folder) -> None:
    good = broken_files.header_of(broken.root / "checkpoints" / CHECKPOINT)
    prefix = "first_stage_model."
    vae = {name.removeprefix(prefix): entry for name, entry in good.items() if name.startswith(prefix)}
    broken_files.write_safetensors(broken.place("checkpoints", "vae.safetensors"), vae)
    assert "no unet" in _refused(
        asking, graphs.text_to_image("vae.safetensors"), "vae.safetensors", "COMPONENT_MISSING"
    )


@pytest.mark.parametrize("ending", ["ckpt", "pt", "bin", "pth", "safetensors"])
@pytest.mark.parametrize("format", ["zip", "bare"])
def test_a_malicious_pickle_runs_nothing(
    asking: Asking, broken: Folder, marker: Path, ending: str, format: str
) -> None:
    file = f"malicious-{format}.{ending}"
    path = broken.place("checkpoints", file)
    if format == "zip":
        broken_files.hostile_zip(path, marker)
    else:
        path.write_bytes(broken_files.hostile_pickle(marker))
    said = _refused(asking, graphs.text_to_image(file), file, "PICKLE_FORBIDDEN", "PICKLE_GLOBAL", "PICKLE_CODE")
    assert "system" in said


def test_the_malicious_pickle_is_one(marker: Path, tmp_path: Path) -> None:
    """The tests above would pass with a harmless file."""
    own = tmp_path / "ran"
    pickle.loads(broken_files.hostile_pickle(own))
    assert own.exists()


@pytest.mark.parametrize(
    ("tensors", "reason", "word"),
    [
        (broken_files.LOHA, "LORA_KIND", "LoHa"),
        (broken_files.LORA_OF_NOTHING, "LORA_UNMATCHED", "no_such_block"),
        (broken_files.HALF_LORA, "LORA_BROKEN", "half"),
        (broken_files.FLUX, "LORA_UNMATCHED", "img_attn"),
    ],
    ids=["LoHa", "matches-nothing", "half-a-pair", "a-model"],
)
def test_a_lora_that_cannot_be_applied(
    asking: Asking, broken: Folder, tensors: broken_files.Shapes, reason: str, word: str
) -> None:
    broken_files.write_safetensors(broken.place("loras", "bad.safetensors"), tensors)
    error, failed = asking.fail(graphs.with_lora("bad.safetensors"))
    assert (failed.reason, failed.facts["file"]) == (reason, "bad.safetensors")
    assert word in error["exception_message"]


def test_a_lora_file_of_noise(asking: Asking, broken: Folder) -> None:
    broken.place("loras", "noise.safetensors").write_bytes(b"\x11" + os.urandom(999))
    _refused(asking, graphs.with_lora("noise.safetensors"), "noise.safetensors", "WEIGHTS_FORMAT")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (None, "WEIGHTS_FORMAT"),
        ({"emb_params": ("F32", (3, 2, 768))}, "EMBEDDING"),
        ({"emb_params": ("F32", (6000, 768))}, "WEIGHTS_TOO_LARGE"),
    ],
    ids=["noise", "of-another-shape", "too-large"],
)
def test_a_broken_embedding(asking: Asking, broken: Folder, tensors: broken_files.Shapes | None, reason: str) -> None:
    path = broken.place("embeddings", "bad.safetensors")
    if tensors is None:
        path.write_bytes(b"\x11" + os.urandom(999))
    else:
        broken_files.write_safetensors(path, tensors)
    error, failed = asking.fail(graphs.text_to_image(text="a embedding:bad"))
    assert failed.reason == reason, failed
    assert "bad.safetensors" in error["exception_message"]


def test_an_embedding_of_another_width_is_left_out(asking: Asking, broken: Folder) -> None:
    """As ComfyUI does: a warning, and the prompt without it."""
    path = broken.place("embeddings", "wide.safetensors")
    broken_files.write_safetensors(path, {"emb_params": ("F32", (2, 1024))})
    with_it = asking.pictures(asking.succeed(graphs.text_to_image(text="a embedding:wide", seed=5)))
    without = asking.pictures(asking.succeed(graphs.text_to_image(text="a", seed=5)))
    assert [_pixels(picture) for picture in with_it] == [_pixels(picture) for picture in without]


def test_a_checkpoint_that_disappears_between_prompts(asking: Asking, broken: Folder) -> None:
    path = broken.place("checkpoints", "leaving.safetensors")
    os.link(broken.root / "checkpoints" / CHECKPOINT, path)
    asking.succeed(graphs.text_to_image("leaving.safetensors", seed=11))
    path.unlink()
    answer = asking.prompt(graphs.text_to_image("leaving.safetensors", seed=12))
    if answer.status_code == 200:  # the list is remembered for a while; then the run says it
        _, failed = asking.fail(graphs.text_to_image("leaving.safetensors", seed=13))
        assert (failed.reason, failed.facts["name"]) == ("WEIGHTS_NOT_FOUND", "leaving.safetensors")
        asking.ended(answer.json()["prompt_id"])
    else:
        (problem,) = answer.json()["node_errors"]["1"]["errors"]
        assert problem["type"] == "value_not_in_list" and "leaving.safetensors" in problem["details"]


@pytest.fixture
def changing(broken: Folder) -> Path:
    """A checkpoint that may be written to, unlike all others: nothing of it was served before."""
    path = broken.place("checkpoints", "changing.safetensors")
    shutil.copyfile(broken.root / "checkpoints" / CHECKPOINT, path)
    with path.open("r+b") as file:
        file.seek(-2 * random.randrange(1, 1000), os.SEEK_END)
        file.write(struct.pack("<e", random.uniform(-0.01, 0.01)))
    return path


@pytest.fixture
def twin(broken: Folder, changing: Path) -> Path:
    """Another file with the same content."""
    return Path(shutil.copyfile(changing, broken.place("checkpoints", "twin.safetensors")))


def _picture(asking: Asking, checkpoint: str, seed: int = 21) -> bytes:
    """Pixels; a file's bytes carry its prompt."""
    (picture,) = asking.pictures(asking.succeed(graphs.text_to_image(checkpoint, seed=seed)))
    return _pixels(picture)


def _pixels(picture: bytes) -> bytes:
    with Image.open(io.BytesIO(picture)) as opened:
        return opened.tobytes()


@pytest.mark.parametrize("in_place", [False, True], ids=["moved-over-it", "written-into-it"])
def test_a_checkpoint_replaced_by_another_gives_the_others_picture(
    asking: Asking, other_checkpoint: Path, changing: Path, twin: Path, in_place: bool
) -> None:
    """The name is not the model: neither results nor networks of the old content are used, nor the other way round."""
    first = _picture(asking, changing.name)
    target = changing if in_place else changing.with_suffix(".new")
    shutil.copyfile(other_checkpoint, target)
    target.replace(changing)
    second = _picture(asking, changing.name)
    assert second != first
    assert _picture(asking, twin.name) == first
    assert _picture(asking, twin.name, seed=24) not in (first, second)
    again = _picture(asking, twin.name, seed=25)
    asking.post("/free", json={"unload_models": True, "free_memory": True})
    assert _picture(asking, twin.name, seed=25) == again


def test_a_checkpoint_cut_short_while_it_is_loaded(asking: Asking, changing: Path, twin: Path) -> None:
    """Overwritten in place, while the model service holds the old one: an error about the file, and no crash."""
    before = _picture(asking, changing.name)
    os.truncate(changing, 1_000_000)
    _refused(asking, graphs.text_to_image(changing.name, seed=22), changing.name, "WEIGHTS_TRUNCATED")
    assert _picture(asking, twin.name) == before
    assert _picture(asking, twin.name, seed=23) != before


def test_a_file_that_is_a_folder_or_a_fifo(asking: Asking, broken: Folder) -> None:
    (broken.root / "checkpoints" / "folder.safetensors").mkdir()
    os.mkfifo(broken.place("checkpoints", "pipe.safetensors"))
    try:
        for name in ("folder.safetensors", "pipe.safetensors"):
            answer = asking.prompt(graphs.text_to_image(name))
            assert answer.status_code == 400
            assert answer.json()["node_errors"]["1"]["errors"][0]["type"] == "value_not_in_list"
    finally:
        (broken.root / "checkpoints" / "folder.safetensors").rmdir()


def test_a_vae_file_of_another_kind(asking: Asking, broken: Folder) -> None:
    broken_files.write_safetensors(broken.place("vae", "flux.safetensors"), broken_files.FLUX)
    graph = graphs.text_to_image()
    graph["vae"] = node("VAELoader", vae_name="flux.safetensors")
    graph["5"]["inputs"]["vae"] = ["vae", 0]
    _refused(asking, graph, "flux.safetensors", "ARCH_UNKNOWN")
