"""Shared memory files: reuse, growth, and what a crash leaves."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.errors import Busy
from orchestrator.clients.regions import RegionPool, sweep


def test_a_region_given_back_is_taken_again_and_the_smallest_fitting_one_wins(tmp_path: Path) -> None:
    pool = RegionPool(tmp_path)
    small, large = pool.take(1), pool.take(5 << 20)
    assert (small.size, large.size) == (1 << 20, 8 << 20)
    assert pool.give(large) is None and pool.give(small) is None
    assert pool.take(100) is small
    assert pool.take(100) is large
    assert len(list(tmp_path.iterdir())) == 2


def test_bytes_written_are_seen_in_the_file(tmp_path: Path) -> None:
    pool = RegionPool(tmp_path)
    region = pool.take(16)
    region.bytes[:4] = np.arange(4)
    assert (tmp_path / region.name).read_bytes()[:4] == bytes(range(4))
    assert region.key == f"/{region.name}"
    assert (tmp_path / region.name).stat().st_mode & 0o077 == 0


def test_too_many_free_regions_are_handed_out_to_be_dropped(tmp_path: Path) -> None:
    pool = RegionPool(tmp_path)
    regions = [pool.take(1 << 20), *(pool.take(2 << 20) for _ in range(8))]
    dropped = [pool.give(region) for region in regions]
    assert [item for item in dropped if item is not None] == [regions[0]]


def test_close_removes_the_files(tmp_path: Path) -> None:
    pool = RegionPool(tmp_path)
    pool.give(pool.take(1))
    assert len(pool.close()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_full_memory_is_busy_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Busy, match="full"):
        RegionPool(tmp_path).take(1)
    assert list(tmp_path.iterdir()) == []


def test_sweep_takes_what_a_dead_process_left_and_nothing_else(tmp_path: Path) -> None:
    crash = (
        "import os, pathlib, sys; from orchestrator.clients.regions import RegionPool;"
        "RegionPool(pathlib.Path(sys.argv[1])).take(1); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", crash, str(tmp_path)], check=False)
    (tmp_path / "someone-elses").write_bytes(b"x")
    living = RegionPool(tmp_path).take(1)
    assert len(list(tmp_path.iterdir())) == 3
    assert sweep(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"someone-elses", living.name}
