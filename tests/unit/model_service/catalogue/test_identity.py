"""Digests: right, computed once, kept across processes, never of a file that is being written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from blake3 import blake3

from kit.errors import NotFound, Unready
from model_service.catalogue import identity
from model_service.catalogue.identity import Identities


@pytest.fixture
def counted(monkeypatch):
    """Count how often content is really read."""
    calls = []
    real = identity.content_digest
    monkeypatch.setattr(identity, "content_digest", lambda path: calls.append(path) or real(path))
    return calls


@pytest.fixture
def identities(tmp_path):
    opened = Identities(tmp_path / "cache")
    yield opened
    opened.close()


def put(path, content, age_s=100):
    path.write_bytes(content)
    old = time.time_ns() - age_s * 10**9
    os.utime(path, ns=(old, old))
    return path


@pytest.mark.parametrize("size", [0, 1, 1024, 5_000_000])
def test_the_digest_is_blake3(identities, tmp_path, size):
    content = os.urandom(size)
    assert identities.digest(put(tmp_path / "a", content)) == blake3(content).hexdigest()


def test_content_is_read_once(identities, tmp_path, counted):
    path = put(tmp_path / "a", b"one")
    assert len({identities.digest(path) for _ in range(3)}) == 1
    other = Identities(tmp_path / "cache")
    other.digest(path)
    other.close()
    assert len(counted) == 1


def test_links_and_new_names_are_the_same_file(identities, tmp_path, counted):
    path = put(tmp_path / "a", b"one")
    (tmp_path / "soft").symlink_to(path)
    (tmp_path / "hard").hardlink_to(path)
    first = identities.digest(path)
    assert identities.digest(tmp_path / "soft") == identities.digest(tmp_path / "hard") == first
    path.rename(tmp_path / "b")
    assert identities.digest(tmp_path / "b") == first
    assert len(counted) == 1


def test_changed_content_is_noticed(identities, tmp_path, counted):
    path = put(tmp_path / "a", b"one", age_s=300)
    first = identities.digest(path)
    put(path, b"two", age_s=200)
    second = identities.digest(path)
    put(path, b"one", age_s=100)
    assert identities.digest(path) == first != second
    assert len(counted) == 3


def test_a_file_written_just_now_is_not_trusted_by_its_time(identities, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    written = path.stat().st_mtime_ns
    monkeypatch.setattr(identity.time, "time_ns", lambda: written + 1_000_000)
    first = identities.digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(written, written))
    assert identities.digest(path) == blake3(b"two").hexdigest() != first


def test_a_file_that_grows_meanwhile_is_not_ready(identities, tmp_path, monkeypatch):
    path = put(tmp_path / "a", b"one")
    real = identity.content_digest

    def growing(file):
        value = real(file)
        file.write_bytes(b"one and more")
        return value

    monkeypatch.setattr(identity, "content_digest", growing)
    with pytest.raises(Unready) as caught:
        identities.digest(path)
    assert caught.value.reason == "WEIGHTS_CHANGING"
    monkeypatch.setattr(identity, "content_digest", real)
    assert identities.digest(path) == blake3(b"one and more").hexdigest()


def test_absent_files(identities, tmp_path):
    with pytest.raises(NotFound):
        identities.digest(tmp_path / "absent")


def test_many_threads_read_once(identities, tmp_path, monkeypatch):
    path = put(tmp_path / "a", b"one")
    calls, real, started = [], identity.content_digest, threading.Event()

    def slow(file):
        calls.append(file)
        started.wait(10)
        return real(file)

    monkeypatch.setattr(identity, "content_digest", slow)
    found = []
    threads = [threading.Thread(target=lambda: found.append(identities.digest(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    started.set()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(found) == 8 and len(set(found)) == 1


def test_a_failure_reaches_everybody_and_is_not_kept(identities, tmp_path, monkeypatch):
    path = put(tmp_path / "a", b"one")
    real = identity.content_digest

    def failing(file):
        raise OSError("disk")

    monkeypatch.setattr(identity, "content_digest", failing)
    with pytest.raises(OSError, match="disk"):
        identities.digest(path)
    monkeypatch.setattr(identity, "content_digest", real)
    assert identities.digest(path) == blake3(b"one").hexdigest()


PROCESS = """
import sys
from pathlib import Path
from model_service.catalogue import identity
real = identity.content_digest
def counting(path):
    with open(sys.argv[3], "a") as file:
        file.write("x")
    return real(path)
identity.content_digest = counting
print(identity.Identities(Path(sys.argv[1])).digest(Path(sys.argv[2])))
"""


def test_several_processes_share_the_cache_and_read_once(tmp_path):
    path = put(tmp_path / "a", os.urandom(3_000_000))
    count = tmp_path / "count"
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache"), str(path), str(count)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    found = {process.communicate()[0].strip() for process in running}
    assert found == {blake3(path.read_bytes()).hexdigest()}
    assert [process.returncode for process in running] == [0] * 4
    assert count.read_text() == "x"


@pytest.mark.parametrize("damage", [b"not a database" * 100, b"", b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    path = put(tmp_path / "a", b"one")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "identities.db").write_bytes(damage)
    opened = Identities(tmp_path / "cache")
    assert opened.digest(path) == blake3(b"one").hexdigest()
    opened.close()


def test_inodes_of_64_bits(identities):
    stamp = identity.FileStamp(device=5, inode=-1, size=1, mtime_ns=2)
    identities._remember(stamp, "ab")
    assert identities._recall(stamp) == "ab"


def test_a_cache_that_cannot_be_written_costs_no_digest(identities, tmp_path, caplog):
    path = put(tmp_path / "a", b"one")
    with sqlite3.connect(tmp_path / "cache" / "identities.db") as database:
        database.execute("CREATE TRIGGER full BEFORE INSERT ON digest BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    database.close()
    assert identities.digest(path) == blake3(b"one").hexdigest()
    assert "disk is full" in caplog.text
