"""Uploads and stored files that are not what they should be."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tests.support import graphs
from tests.support.asking import Asking
from tests.support.graphs import node
from tests.support.stack import Stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(120)]
MIB = 1 << 20


def _png(side: int = 8) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), (1, 2, 3)).save(file, "PNG")
    return file.getvalue()


def _bomb(side: int) -> bytes:
    """A PNG of side x side pixels of one bit, all alike: a few kilobytes for gigabytes."""
    rows = zlib.compressobj(9)
    row = b"\0" * (1 + side // 8)
    data = b"".join(rows.compress(row) for _ in range(side)) + rows.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    start = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", start) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


NO_PICTURES = {
    "text.png": b"I am no picture",
    "empty.png": b"",
    "cut.png": _png(64)[:-30],
    "only-a-signature.png": b"\x89PNG\r\n\x1a\n",
    "program.png": b"\x7fELF" + bytes(100),
    "page.jpg": b"<html><script>alert(1)</script></html>",
    "zip.webp": b"PK\x03\x04" + bytes(60),
}


def _upload(asking: Asking, name: str, content: bytes, **fields: str) -> tuple[int, dict[str, str]]:
    answer = asking.post("/upload/image", files={"image": (name, content)}, data=fields)
    return answer.status_code, answer.json() if answer.status_code == 200 else {}


def _inputs(stack: Stack) -> set[str]:
    folder = stack.data / "input"
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_a_file_that_is_no_picture_is_kept_and_refused_by_who_reads_it(asking: Asking, name: str) -> None:
    status, stored = _upload(asking, name, NO_PICTURES[name])
    assert (status, stored["name"]) == (200, name)
    error, failed = asking.fail(graphs.loaded(name))
    assert (failed.reason, failed.facts["file"]) == ("PICTURE_FILE", name)
    assert name in error["exception_message"]
    preview = asking.get("/view", params={"filename": name, "type": "input", "preview": "webp"})
    assert preview.status_code in (400, 500) and b"Traceback" not in preview.content
    plain = asking.get("/view", params={"filename": name, "type": "input"})
    assert (plain.status_code, plain.content) == (200, NO_PICTURES[name])


@pytest.mark.parametrize("side", [60_000, 20_000])
def test_a_decompression_bomb(asking: Asking, side: int) -> None:
    """Refused by its header: 60,000 x 60,000 pixels would be 43 GB as a tensor."""
    name = f"bomb-{side}.png"
    assert _upload(asking, name, _bomb(side))[0] == 200
    _, failed = asking.fail(graphs.loaded(name))
    assert (failed.reason, failed.facts["file"]) == ("PICTURE_FILE", name)
    for query in ({"preview": "webp"}, {"channel": "rgb"}, {"channel": "a"}):
        answer = asking.get("/view", params={"filename": name, "type": "input", **query})
        assert answer.status_code == 400 and "pixels" in answer.text.lower(), answer.text[:300]


def test_a_file_over_the_limit(asking: Asking, stack: Stack) -> None:
    before = _inputs(stack)
    assert _upload(asking, "large.bin", bytes(5 * MIB))[0] == 413
    assert _inputs(stack) == before


def test_a_file_just_under_the_limit(asking: Asking) -> None:
    assert _upload(asking, "almost.bin", bytes(4 * MIB - 64 * 1024))[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "../escape.png", "../../escape.png", "/etc/escape.png", "a/../../escape.png", "..\\..\\escape.png",
        "C:\\escape.png", "..", ".", "", "a\x00.png", "x" * 300 + ".png", "a/b/escape.png", ".partial", "~/escape.png",
        "con\nfig.png",
    ],
)  # fmt: skip
def test_no_name_leads_out(asking: Asking, stack: Stack, name: str) -> None:
    """Refused, or stored inside under a name that is one."""
    outside = {path for path in stack.data.parent.rglob("*escape*") if path.is_file()}
    status, stored = _upload(asking, name, _png())
    assert status in (200, 400, 500)
    if status == 200:
        place = stack.data / "input" / stored["subfolder"] / stored["name"]
        assert place.is_file() and (stack.data / "input") in place.resolve().parents
        place.unlink()
    left = {path for path in stack.data.parent.rglob("*escape*") if path.is_file()} - outside
    assert not left


@pytest.mark.parametrize("subfolder", ["..", "../temp", "/tmp", "a/../../..", ".partial", "a\x00b", "x" * 300])
def test_no_subfolder_leads_out(asking: Asking, stack: Stack, subfolder: str) -> None:
    status, stored = _upload(asking, "sub.png", _png(), subfolder=subfolder)
    assert status in (200, 400, 403)
    if status == 200:
        place = stack.data / "input" / stored["subfolder"] / stored["name"]
        assert (stack.data / "input") in place.resolve().parents


@pytest.mark.parametrize(
    "name", ["bild-ä-漢字-🎨.png", "with space.png", "quote'\".png", "per%cent.png", "semi;colon.png"]
)
def test_a_name_in_any_script(asking: Asking, name: str) -> None:
    status, stored = _upload(asking, name, _png(16))
    assert status == 200
    assert asking.succeed(graphs.loaded(stored["name"]))
    shown = asking.get("/view", params={"filename": stored["name"], "type": "input"})
    assert shown.content == _png(16)


@pytest.mark.parametrize("target", ["file", "folder"])
def test_a_link_that_leads_out_of_the_input_folder(asking: Asking, stack: Stack, tmp_path: Path, target: str) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(_png(24))
    link = stack.data / "input" / f"link-{target}"
    link.symlink_to(secret if target == "file" else tmp_path)
    name = link.name if target == "file" else f"{link.name}/secret.png"
    try:
        answer = asking.prompt(graphs.loaded(name))
        assert answer.status_code == 400, answer.text
        assert answer.json()["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"
        folder, _, file = name.rpartition("/")
        view = asking.get("/view", params={"filename": file, "subfolder": folder, "type": "input"})
        assert view.status_code in (403, 404) and view.content == b""
        status, _ = _upload(asking, "through.png", _png(), subfolder=folder)
        assert status != 200 or target == "file"
        assert not (tmp_path / "through.png").exists()
    finally:
        link.unlink()


@pytest.mark.parametrize(
    "query",
    [
        {"filename": "../heliograph.db"}, {"filename": "/etc/passwd"}, {"filename": "heliograph.db", "subfolder": ".."},
        {"filename": "x.png", "subfolder": "../.."}, {"filename": "x.png", "type": "secret"}, {"filename": "a\x00.png"},
        {"filename": "x.png", "preview": "exe;9999999999999999999999"}, {"filename": ""}, {"filename": "x" * 5000},
    ],
)  # fmt: skip
def test_no_query_shows_what_it_should_not(asking: Asking, query: dict[str, str]) -> None:
    answer = asking.get("/view", params=query)
    assert answer.status_code in (400, 403, 404)
    assert b"SQLite" not in answer.content and b"root:" not in answer.content


@pytest.mark.parametrize(
    "prefix", ["../escape", "/tmp/escape", "a/../../escape", "..\\escape", "a\x00b", "%year%/../../x"]
)
def test_no_picture_is_saved_outside(asking: Asking, stack: Stack, prefix: str) -> None:
    graph = graphs.plain(colour=77)
    graph["2"] = node("SaveImage", images=["1", 0], filename_prefix=prefix)
    entry = asking.run(graph)
    if entry["status"]["status_str"] == "error":
        assert entry["status"]["messages"][-1][1]["reason"] in ("UNSAFE_PATH", "BAD_NAME")
    else:
        for place in entry["outputs"]["2"]["images"]:
            path = stack.data / "output" / place["subfolder"] / place["filename"]
            assert (stack.data / "output").resolve() in path.resolve().parents
    assert not list(stack.data.parent.glob("*escape*"))


def test_a_name_that_no_file_can_have(asking: Asking) -> None:
    answer = asking.prompt(graphs.loaded("x" * 5000))
    assert answer.status_code == 400
    assert answer.json()["node_errors"]["1"]["errors"][0]["type"] == "custom_validation_failed"


def test_a_form_without_a_file(asking: Asking) -> None:
    assert asking.post("/upload/image", data={"a": "b"}).status_code == 400
    plain = {"Content-Type": "text/plain"}
    assert asking.post("/upload/image", data=b"\x00" * 99, headers=plain).status_code in (400, 500)
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert asking.post("/upload/image", data=b"--y\r\n\r\nno end", headers=broken).status_code in (400, 500)


def test_a_picture_that_changes_is_read_again(asking: Asking, stack: Stack) -> None:
    """By content, not by name."""
    path = stack.data / "input" / "changing.png"
    shown = []
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(path)
        (picture,) = asking.pictures(asking.succeed(graphs.loaded("changing.png")))
        shown.append(Image.open(io.BytesIO(picture)).getpixel((0, 0)))
    assert shown == [(255, 0, 0), (0, 0, 255)]
    path.unlink()
    assert asking.prompt(graphs.loaded("changing.png")).status_code == 400
