"""Hashing in a process of its own: the same digest, and a way on when that process dies."""

from __future__ import annotations

import os

import pytest
from blake3 import blake3

from kit.errors import InvalidModel
from model_service.catalogue import hashing
from model_service.catalogue.hashing import content_digest


@pytest.fixture(params=["apart", "here"])
def way(request, monkeypatch):
    monkeypatch.setattr(hashing, "APART_BYTES", 0 if request.param == "apart" else 1 << 60)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", [0, 1, 70_000, 9_000_001])
def test_the_digest_is_blake3(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert content_digest(tmp_path / "a") == blake3(content).hexdigest()


def test_a_child_that_is_killed_is_made_up_for(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "APART_BYTES", 0)
    monkeypatch.setattr(hashing, "_APART", "import os, signal; os.kill(os.getpid(), signal.SIGBUS)")
    (tmp_path / "a").write_bytes(b"content")
    assert content_digest(tmp_path / "a") == blake3(b"content").hexdigest()


@pytest.mark.usefixtures("way")
def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InvalidModel, match="cannot be read"):
        content_digest(tmp_path)
