"""Shared memory regions: what may be mapped, and that nothing reaches outside."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from kit.errors import Conflict, InvalidRequest, NotFound
from model_service.transport import regions
from model_service.transport.regions import Regions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "memory").mkdir()
    (tmp_path / "secret").write_bytes(b"s" * 100)
    (tmp_path / "memory/thing").write_bytes(bytes(range(256)) * 64)
    return tmp_path / "memory"


def test_reads_without_a_copy_and_writes(folder: Path) -> None:
    shared = Regions(folder)
    shared.register("r", "/thing", 16, 1024)
    view = shared.read("r", 0, 16, "UINT8", (16,))
    assert view.tolist() == list(range(16, 32))
    assert shared.write("r", 0, 16, np.zeros(16, np.uint8)) == 16
    assert view.tolist() == [0] * 16
    assert (folder / "thing").read_bytes()[14:34] == bytes([14, 15, *([0] * 16), 32, 33])


def test_shared_memory_of_other_programs(folder: Path) -> None:
    """PostgreSQL's, a browser's, a semaphore: same machine, same user, not ours."""
    for key in ("/PostgreSQL.1234", "sem.x", ".org.chromium.x"):
        (folder / key.strip("/")).write_bytes(bytes(64))
        with pytest.raises(InvalidRequest) as caught:
            Regions(folder).register("r", key, 0, 16)
        assert (caught.value.reason, caught.value.facts["key"]) == ("SHARED_MEMORY_KEY", key)
    (folder / "heliograph-1").write_bytes(bytes(64))
    Regions(folder).register("r", "/heliograph-1", 0, 16)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_shared_memory_of_other_users(folder: Path) -> None:
    (folder / "heliograph-1").write_bytes(bytes(64))
    os.chown(folder / "heliograph-1", 12345, 12345)
    with pytest.raises(InvalidRequest, match="another user's"):
        Regions(folder).register("r", "/heliograph-1", 0, 16)


@pytest.mark.parametrize(
    "key", ["../secret", "/../secret", "a/../../secret", "..", ".", "", "/", "thing/", "//thing", "th\0ing", "x" * 300]
)
def test_keys_that_are_no_plain_names(folder: Path, key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Regions(folder).register("r", key, 0, 1)
    assert caught.value.reason == "SHARED_MEMORY_KEY"


def test_links_folders_and_pipes_are_no_shared_memory(folder: Path) -> None:
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    for key in ("link", "folder", "pipe", "missing"):
        with pytest.raises(InvalidRequest):
            Regions(folder).register("r", key, 0, 1)


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 0), (0, 16385), (16384, 1), (-1, 10), (1 << 62, 1 << 62)])
def test_more_than_the_object_has(folder: Path, offset: int, byte_size: int) -> None:
    with pytest.raises(InvalidRequest):
        Regions(folder).register("r", "thing", offset, byte_size)


@pytest.mark.parametrize(("offset", "byte_size"), [(100, 1), (96, 8), (-4, 4), (0, -4), (1 << 62, 4)])
def test_more_than_the_region_has(folder: Path, offset: int, byte_size: int) -> None:
    shared = Regions(folder)
    shared.register("r", "thing", 0, 100)
    with pytest.raises(InvalidRequest):
        shared.read("r", offset, byte_size, "UINT8", (byte_size,))


def test_output_larger_than_its_room(folder: Path) -> None:
    shared = Regions(folder)
    shared.register("r", "thing", 0, 100)
    with pytest.raises(InvalidRequest):
        shared.write("r", 0, 8, np.zeros(3, np.float32))
    with pytest.raises(InvalidRequest):
        shared.write("r", 96, 12, np.zeros(3, np.float32))


def test_an_object_cut_short_is_noticed(folder: Path) -> None:
    shared = Regions(folder)
    shared.register("r", "thing", 0, 16384)
    os.truncate(folder / "thing", 4096)
    with pytest.raises(InvalidRequest) as caught:
        shared.read("r", 8192, 4, "FP32", (1,))
    assert caught.value.reason == "SHARED_MEMORY_CUT"


def test_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Regions(folder)
    shared.register("a", "thing", 0, 10)
    with pytest.raises(Conflict):
        shared.register("a", "thing", 0, 10)
    shared.register("b", "thing", 0, 10)
    monkeypatch.setattr(regions, "MAX_REGIONS", 2)
    with pytest.raises(InvalidRequest):
        shared.register("c", "thing", 0, 10)
    assert [region.name for region in shared.status()] == ["a", "b"]
    shared.unregister("a")
    shared.unregister("a")
    with pytest.raises(NotFound):
        shared.status("a")
    shared.unregister("")
    assert not shared.status()


def test_a_region_in_use_outlives_its_name(folder: Path) -> None:
    shared = Regions(folder)
    shared.register("a", "thing", 0, 10)
    view = shared.read("a", 0, 4, "UINT8", (4,))
    shared.unregister("a")
    assert view.tolist() == [0, 1, 2, 3]
