"""Uploads: names, order of fields, size bounds, clients that vanish, masks."""

from __future__ import annotations

import io
import json
import socket

import pytest
from PIL import Image, PngImagePlugin

from kit.errors import Busy, InvalidRequest
from tests.contract.rest.served import WAIT_S, Served, multipart, running_bridge
from tests.support.fake_front import StoredFile

MIB = 1024 * 1024


def test_the_recorded_sequence_of_names(served: Served) -> None:
    def post(data: bytes, *fields: tuple[str, str]) -> list[str]:
        form = [(name, None, value.encode()) for name, value in fields]
        answer = served.post_form("/upload/image", [*form[:1], ("image", "up.png", data), *form[1:]])
        return [answer.json["name"], answer.json["subfolder"], answer.json["type"]]

    assert post(b"one") == ["up.png", "", "input"]
    assert post(b"one") == ["up.png", "", "input"]
    assert post(b"two") == ["up (1).png", "", "input"]
    assert post(b"two") == ["up (1).png", "", "input"]
    assert post(b"three", ("overwrite", "true")) == ["up.png", "", "input"]
    assert post(b"four", ("overwrite", "false")) == ["up (2).png", "", "input"]
    assert post(b"x", ("overwrite", "1"), ("subfolder", "sub/d"), ("type", "temp")) == ["up.png", "sub/d", "temp"]
    assert post(b"x", ("subfolder", "upl"), ("type", "output")) == ["up.png", "upl", "output"]


@pytest.mark.parametrize(
    ("filename", "stored"),
    [
        ("dir%2Fx.png", "dir%2Fx.png"),
        ("a/b.png", "b.png"),
        ("/etc/passwd", "passwd"),
        ("C:\\pics\\x.png", "x.png"),
        ("ümläut.png", "ümläut.png"),
        ("page.html", "page.html"),
        ("noext", "noext"),
    ],
)
def test_names_lose_their_folders(filename: str, stored: str, served: Served) -> None:
    answer = served.post_form("/upload/image", [("image", filename, b"x")])
    assert answer.json == {"name": stored, "subfolder": "", "type": "input"}
    assert list(served.backend.files) == [("input", "", stored)]


@pytest.mark.parametrize(
    "filename", ["../x.png", "a/../../x.png", "..", "..\\x.png", "a/", ".", "x" * 300, "a\x01b.png"]
)
def test_names_that_are_refused(filename: str, served: Served) -> None:
    answer = served.post_form("/upload/image", [("image", filename, b"x")])
    assert (answer.status, answer.body) == (400, b"")
    assert served.backend.files == {} and served.backend.uploads_begun == 0


@pytest.mark.parametrize("subfolder", ["..", "../x", "a/../../x", "/abs", "a/../.."])
def test_subfolders_that_lead_outside(subfolder: str, served: Served) -> None:
    form = [("image", "a.png", b"x"), ("subfolder", None, subfolder.encode())]
    assert served.post_form("/upload/image", form).status == 400
    assert served.backend.uploads_begun == 0


def test_what_the_front_refuses(served: Served) -> None:
    served.backend.fail["UploadArtifact"] = InvalidRequest("outside", reason="UNSAFE_PATH")
    form = [("image", "a.png", b"x")]
    answer = served.post_form("/upload/image", form)
    assert (answer.status, answer.body) == (400, b"")
    served.backend.fail["UploadArtifact"] = Busy("full", reason="DISK_FULL")
    answer = served.post_form("/upload/image", form)
    assert (answer.status, answer.json["error"]["type"], answer.headers["retry-after"]) == (429, "disk_full", "1")


@pytest.mark.parametrize("area", ["secret", "", "models"])
def test_unknown_areas(area: str, served: Served) -> None:
    assert served.post_form("/upload/image", [("image", "a.png", b"x"), ("type", None, area.encode())]).status == 500


def test_a_form_of_another_kind(served: Served) -> None:
    assert served.request("POST", "/upload/image", b"{}", {"Content-Type": "application/json"}).status == 400
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert served.request("POST", "/upload/image", b"--x\r\nnonsense", broken).status == 400


def test_large_files_travel_in_chunks(served: Served) -> None:
    data = bytes(range(256)) * (20 * 4096)  # 20 MiB
    assert served.post_form("/upload/image", [("image", "big.bin", data)]).status == 200
    assert served.backend.files["input", "", "big.bin"].data == data
    assert 0 < served.backend.largest_chunk <= MIB


def test_bodies_over_the_limit() -> None:
    with running_bridge(max_upload_mib=1) as served:
        body, kind = multipart([("image", "big.bin", b"x" * (2 * MIB))])
        answer = served.request("POST", "/upload/image", body, {"Content-Type": kind})
        assert answer.status == 413 and b"Maximum request body size 1048576" in answer.body
        chunked = (body[start : start + MIB] for start in range(0, len(body), MIB))
        answer = served.request("POST", "/upload/image", chunked, {"Content-Type": kind})  # type: ignore[arg-type]
        assert answer.status == 413
        assert served.request("POST", "/prompt", b" " * (2 * MIB)).status == 413
        assert served.backend.uploads_begun == 0
        assert served.request("GET", "/features").json["max_upload_size"] == MIB


def test_a_client_that_vanishes_leaves_nothing(served: Served) -> None:
    body, kind = multipart([("image", "half.png", b"x" * MIB)])
    head = (
        f"POST /upload/image HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as client:
        client.sendall(head.encode() + body[: MIB // 2])
    assert served.request("GET", "/queue").status == 200
    assert served.backend.uploads_begun == 0 and served.backend.files == {}
    assert served.post_form("/upload/image", [("image", "half.png", b"y")]).json["name"] == "half.png"


def png(colour: tuple[int, ...], size: tuple[int, int] = (4, 4), **texts: str) -> bytes:
    """An encoded picture with text chunks."""
    target, info = io.BytesIO(), PngImagePlugin.PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(target, "png", pnginfo=info)
    return target.getvalue()


def post_mask(served: Served, mask: bytes, original: object) -> tuple[int, object]:
    """Posts a mask for an original."""
    form = [
        ("original_ref", None, json.dumps(original).encode()),
        ("image", "masked.png", mask),
        ("subfolder", None, b"clipspace"),
    ]
    answer = served.post_form("/upload/mask", form)
    return answer.status, answer.json if answer.content_type.startswith("application/json") else answer.body.decode()


def test_a_mask_takes_the_originals_colours(served: Served) -> None:
    served.backend.files["input", "", "o.png"] = StoredFile(png((1, 2, 3), prompt='{"a": 1}'))
    answer = post_mask(served, png((9, 9, 9, 55)), {"filename": "o.png", "type": "input", "subfolder": ""})
    assert answer == (200, {"name": "masked.png", "subfolder": "clipspace", "type": "input"})
    merged = Image.open(io.BytesIO(served.backend.files["input", "clipspace", "masked.png"].data))
    assert merged.getpixel((0, 0)) == (1, 2, 3, 55)
    assert merged.text == {"prompt": '{"a": 1}'}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "original", [{"filename": "none.png"}, {"filename": "../x.png"}, {"filename": "o.png", "subfolder": "../.."}]
)
def test_a_mask_without_original_writes_nothing(original: object, served: Served) -> None:
    status, _ = post_mask(served, b"xx", original)
    assert status == 200 and served.backend.files == {}


@pytest.mark.parametrize("original", [None, [], {}, {"filename": 5}, "{"])
def test_a_mask_without_reference_is_trouble(original: object, served: Served) -> None:
    assert post_mask(served, png((9, 9, 9, 55)), original)[0] == 500


def test_masks_that_do_not_fit(served: Served) -> None:
    served.backend.files["output", "", "o.png"] = StoredFile(png((1, 2, 3)))
    status, body = post_mask(served, png((9, 9, 9, 55), (8, 8)), {"filename": "o.png"})
    assert status == 400 and body["error"]["type"] == "mask_size"  # type: ignore[index]
    status, body = post_mask(served, b"no picture", {"filename": "o.png"})
    assert status == 400 and body["error"]["type"] == "not_an_image"  # type: ignore[index]
    assert list(served.backend.files) == [("output", "", "o.png")]
