"""Names and bytes of saved files, without a server."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest

from kit.errors import HeliographError, InvalidRequest, NotFound
from orchestrator.clients.artifact_names import substitute, with_copy_number
from orchestrator.clients.artifact_paths import Areas
from orchestrator.clients.artifacts import LocalArtifacts

NOW = datetime(2026, 3, 4, 5, 6, 7)


@pytest.fixture
def artifacts(tmp_path: Path) -> LocalArtifacts:
    areas = Areas(tmp_path)
    areas.create()
    return LocalArtifacts(areas, lambda: NOW)


def save(artifacts: LocalArtifacts, prefix: str, data: bytes = b"x", area: str = "output") -> str:
    stored = artifacts.save(area, prefix, ".png", (64, 32), lambda stream: stream.write(data) and None)
    return f"{stored.type}|{stored.subfolder}|{stored.filename}"


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("ComfyUI", "output||ComfyUI_00001_.png"),
        ("", "output||._00001_.png"),
        ("a/b/c", "output|a/b|c_00001_.png"),
        ("a//b/./c", "output|a/b|c_00001_.png"),
        (".hidden/c", "output|.hidden|c_00001_.png"),
        ("%width%x%height%", "output||64x32_00001_.png"),
        ("%year%-%month%-%day%/%hour%%minute%%second%", "output|2026-03-04|050607_00001_.png"),
        ("%date:yyyy-MM-dd%_%KSampler.seed%", "output||%date:yyyy-MM-dd%_%KSampler.seed%_00001_.png"),
    ],
)
def test_prefixes(artifacts: LocalArtifacts, prefix: str, expected: str) -> None:
    assert save(artifacts, prefix) == expected


def test_counter_continues_after_the_highest_of_its_own_prefix(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    output = tmp_path / "output"
    for name in ("cnt_00007_.png", "cnt_x_00090_.png", "xcnt_00050_.png", "cnt_00003_.webp", "pre_fix_00003_.png"):
        (output / name).touch()
    assert save(artifacts, "cnt") == "output||cnt_00008_.png"
    assert save(artifacts, "cnt") == "output||cnt_00009_.png"
    assert save(artifacts, "pre") == "output||pre_00001_.png"
    (output / "cnt_00020_.jpg").touch()
    assert save(artifacts, "cnt") == "output||cnt_00021_.png"
    assert save(artifacts, "c[nt") == "output||c[nt_00001_.png"


@pytest.mark.parametrize("prefix", ["../x", "/x", "a/../../x", "link/x", "a\0b", "x" * 300])
def test_prefixes_that_lead_elsewhere_are_refused(artifacts: LocalArtifacts, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "output" / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidRequest):
        save(artifacts, prefix)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_write_that_fails_leaves_nothing(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    def fail(stream: object) -> None:
        raise RuntimeError("encoder broke")

    with pytest.raises(RuntimeError):
        artifacts.save("output", "a", "png", (1, 1), fail)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_concurrent_workers_never_share_a_name(tmp_path: Path) -> None:
    Areas(tmp_path).create()
    workers = [LocalArtifacts(Areas(tmp_path)) for _ in range(4)]
    start = threading.Barrier(4)

    def work(index: int) -> list[str]:
        start.wait()
        return [save(workers[index], "p", b"%d-%d" % (index, number)) for number in range(25)]

    with ThreadPoolExecutor(4) as pool:
        names = [name for names in pool.map(work, range(4)) for name in names]
    assert len(set(names)) == 100
    contents = {path.read_bytes() for path in (tmp_path / "output").glob("*.png")}
    assert len(contents) == 100


def test_annotated_names(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    (tmp_path / "input" / "sub").mkdir()
    for place in ("input/a.png", "input/sub/b.png", "output/a.png"):
        (tmp_path / place).write_bytes(place.encode())
    assert artifacts.input_path("a.png").read_bytes() == b"input/a.png"
    assert artifacts.input_path("sub/b.png").read_bytes() == b"input/sub/b.png"
    assert artifacts.input_path("a.png [output]").read_bytes() == b"output/a.png"
    assert artifacts.input_path("a.png [input]").read_bytes() == b"input/a.png"
    with pytest.raises(NotFound):
        artifacts.input_path("a.png [temp]")


@pytest.mark.parametrize(
    "name", ["", "../secret", "/etc/passwd", "sub/../../secret", "link/secret", "x\0", "sub", ".."]
)
def test_inputs_outside_are_not_read(artifacts: LocalArtifacts, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").touch()
    (tmp_path / "input" / "sub").mkdir()
    (tmp_path / "input" / "link").symlink_to(tmp_path)
    with pytest.raises(HeliographError):
        artifacts.input_path(name)


def test_a_link_that_stays_inside_is_followed(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    (tmp_path / "input" / "real.png").write_bytes(b"r")
    (tmp_path / "input" / "alias.png").symlink_to("real.png")
    assert artifacts.input_path("alias.png").read_bytes() == b"r"


def test_digest_follows_the_content(artifacts: LocalArtifacts, tmp_path: Path) -> None:
    path = tmp_path / "input" / "a.bin"
    for content in (b"one", b"two!"):
        path.write_bytes(content)
        assert artifacts.digest("a.bin") == hashlib.sha256(content).hexdigest()
        assert artifacts.digest("a.bin") == hashlib.sha256(content).hexdigest()


def test_tokens_are_replaced_once_each() -> None:
    assert substitute("%width%%width%_%second%", (1, 2), NOW) == "11_07"


def test_copy_numbers() -> None:
    assert [with_copy_number("a.tar.gz", copy) for copy in (0, 1)] == ["a.tar.gz", "a.tar (1).gz"]
    assert with_copy_number("noext", 2) == "noext (2)"
    assert with_copy_number(".hidden", 1) == ".hidden (1)"
