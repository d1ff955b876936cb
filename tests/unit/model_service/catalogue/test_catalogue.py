"""Listing, resolving and headers: names lead to listed files and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kit.errors import InvalidModel, NotFound
from model_service.catalogue import listing
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import model_folders
from model_service.catalogue.identity import Identities
from model_service.catalogue.listing import tiny_vaes


@pytest.fixture
def models(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def catalogue(tmp_path, models):
    identities = Identities(tmp_path / "cache")
    yield Catalogue(model_folders(models, tmp_path / "output"), identities)
    identities.close()


def put(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_names_are_relative_sorted_as_text_and_of_their_kind(catalogue, models):
    for name in ("b.safetensors", "B.ckpt", "a.safetensors", "sub/dir/c.pt", "sub/z.SFT", "10.pth", "9.pth", "ä.bin"):
        put(models / "checkpoints" / name)
    for name in ("put_here", "a.txt", "a.safetensors.part", ".hidden.ckpt", ".git/x.ckpt", "sub/._c.pt"):
        put(models / "checkpoints" / name)
    (models / "checkpoints" / "folder.ckpt").mkdir()
    assert list(catalogue.list("checkpoints")) == [
        "10.pth", "9.pth", "B.ckpt", "a.safetensors", "b.safetensors", "sub/dir/c.pt", "sub/z.SFT", "ä.bin",
    ]  # fmt: skip
    assert list(catalogue.list("loras")) == []
    assert catalogue.folders()[0] == "checkpoints"


def test_the_first_directory_wins(catalogue, models, tmp_path):
    first = put(models / "checkpoints" / "a.ckpt")
    put(tmp_path / "output" / "checkpoints" / "a.ckpt")
    second = put(tmp_path / "output" / "checkpoints" / "b.ckpt")
    assert list(catalogue.list("checkpoints")) == ["a.ckpt", "b.ckpt"]
    assert catalogue.resolve("checkpoints", "a.ckpt") == first
    assert catalogue.resolve("checkpoints", "b.ckpt") == second


def test_changes_are_seen_at_once(catalogue, models):
    for number in range(5):
        put(models / "loras" / "sub" / f"{number}.safetensors")
        assert len(catalogue.list("loras")) == number + 1
    (models / "loras" / "sub" / "0.safetensors").rename(models / "loras" / "0.safetensors")
    assert catalogue.list("loras")[0] == "0.safetensors"
    (models / "loras" / "0.safetensors").unlink()
    assert len(catalogue.list("loras")) == 4


def settle(root):
    """Give every directory an old time, as it has in an installation that is at rest."""
    for directory, _, _ in os.walk(root):
        os.utime(directory, ns=(10**18, 10**18))


def test_a_tree_at_rest_is_not_read_again(catalogue, models, monkeypatch):
    put(models / "loras" / "sub" / "a.safetensors")
    settle(models)
    reads = []
    real = listing._entries
    monkeypatch.setattr(listing, "_entries", lambda directory: reads.append(directory) or real(directory))
    assert list(catalogue.list("loras")) == ["sub/a.safetensors"]
    first = len(reads)
    assert first == 2
    for _ in range(3):
        assert list(catalogue.list("loras")) == ["sub/a.safetensors"]
    assert len(reads) == first
    put(models / "loras" / "sub" / "b.safetensors")
    assert len(catalogue.list("loras")) == 2


def test_a_folder_that_appears_or_goes_is_noticed(catalogue, models):
    assert list(catalogue.list("vae")) == []
    path = put(models / "vae" / "a.pt")
    settle(models)
    assert list(catalogue.list("vae")) == ["a.pt"]
    path.unlink()
    path.parent.rmdir()
    assert list(catalogue.list("vae")) == []


def test_links_of_the_operator_are_followed(catalogue, models, tmp_path):
    target = put(tmp_path / "store" / "deep" / "real.safetensors")
    (models / "checkpoints").mkdir(parents=True)
    (models / "checkpoints" / "linked.safetensors").symlink_to(target)
    (models / "checkpoints" / "dir").symlink_to(tmp_path / "store")
    assert list(catalogue.list("checkpoints")) == ["dir/deep/real.safetensors", "linked.safetensors"]
    assert catalogue.resolve("checkpoints", "linked.safetensors").resolve() == target.resolve()


def test_links_into_themselves_end(catalogue, models):
    put(models / "loras" / "a.safetensors")
    (models / "loras" / "up").symlink_to(models)
    (models / "loras" / "self").symlink_to(models / "loras")
    (models / "loras" / "loop").symlink_to(models / "loras" / "loop")
    (models / "loras" / "gone.safetensors").symlink_to(models / "nowhere")
    names = catalogue.list("loras")
    assert "a.safetensors" in names and "gone.safetensors" not in names
    assert len(names) < 5


ESCAPES = [
    "../secret.safetensors", "sub/../../secret.safetensors", "/etc/passwd", "..", ".", "", "sub", "sub/",
    "./a.safetensors", "a.safetensors/", "sub//b.safetensors", "a.safetensors\0", "a.safetensors\n", "A.safetensors",
    "sub\\b.safetensors", "~/a.safetensors", "%2e%2e/secret.safetensors", "..\\secret.safetensors",
    "a.safetensors" * 500, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", ESCAPES)
def test_only_listed_names_resolve(catalogue, models, name):
    put(models / "loras" / "a.safetensors")
    put(models / "loras" / "sub" / "b.safetensors")
    put(models / "secret.safetensors")
    with pytest.raises(NotFound) as caught:
        catalogue.resolve("loras", name)
    assert caught.value.reason == "WEIGHTS_NOT_FOUND"


def test_an_absolute_name_of_a_listed_file_is_no_name(catalogue, models):
    path = put(models / "loras" / "a.safetensors")
    with pytest.raises(NotFound):
        catalogue.resolve("loras", str(path))


def test_a_missing_file_names_the_nearest(catalogue, models):
    for name in ("dreamshaper_8.safetensors", "sub/DreamShaper_7.safetensors", "other.ckpt"):
        put(models / "checkpoints" / name)
    with pytest.raises(NotFound) as caught:
        catalogue.resolve("checkpoints", "dreamshaper8.safetensors")
    assert caught.value.facts["nearest"].split(", ")[0] == "dreamshaper_8.safetensors"
    assert caught.value.facts["folder"] == "checkpoints"


def test_names_that_are_no_text_are_not_listed(catalogue, models):
    put(models / "loras" / "a.safetensors")
    Path(os.fsdecode(os.fsencode(models / "loras") + b"/\xff.safetensors")).write_bytes(b"x")
    assert list(catalogue.list("loras")) == ["a.safetensors"]


def test_headers_are_kept_until_the_file_changes(catalogue, models):
    path = models / "vae" / "a.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"w": np.ones(2, np.float32)}, path)
    header = catalogue.header("vae", "a.safetensors")
    assert catalogue.header("vae", "a.safetensors") is header
    save_file({"v": np.ones(3, np.float32)}, path)
    assert list(catalogue.header("vae", "a.safetensors").tensors) == ["v"]
    path.write_bytes(b"damaged")
    with pytest.raises(InvalidModel):
        catalogue.header("vae", "a.safetensors")
    path.unlink()
    with pytest.raises(NotFound):
        catalogue.header("vae", "a.safetensors")


def test_kept_headers_are_bounded(catalogue, models, monkeypatch):
    monkeypatch.setattr("model_service.catalogue.catalogue.KEPT_HEADERS", 2)
    (models / "vae").mkdir(parents=True)
    for name in "abc":
        save_file({name: np.ones(2, np.float32)}, models / "vae" / f"{name}.safetensors")
        catalogue.header("vae", f"{name}.safetensors")
    assert len(catalogue._headers) == 2


def test_tiny_autoencoders_need_both_halves():
    names = [
        "taesd_encoder.pth",
        "taesd_decoder.safetensors",
        "taesdxl_decoder.pth",
        "taef1_encoder.pt",
        "taef1_decoder.pt",
    ]
    assert tiny_vaes(names) == ["taesd", "taef1"]
