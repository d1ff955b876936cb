"""/view: parts, conditions, pictures, and nothing that a browser would run in our origin."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from tests.contract.rest.served import Served, running_bridge
from tests.support.fake_front import StoredFile

DATA = bytes(range(256)) * 1024  # several chunks


@pytest.fixture
def stored(served: Served) -> Served:
    """With a file of 256 KiB."""
    served.backend.files["output", "", "big.bin"] = StoredFile(DATA)
    return served


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-5", slice(-5, None)),
        ("bytes=10-99999999", slice(10, None)),
        ("bytes=70000-200000", slice(70000, 200001)),
    ],
)
def test_parts(wanted: str, part: slice, stored: Served) -> None:
    answer = stored.request("GET", "/view?filename=big.bin", headers={"Range": wanted})
    assert answer.status == 206 and answer.body == DATA[part]
    first = range(len(DATA))[part][0]
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(DATA)}"


@pytest.mark.parametrize("wanted", ["bytes=5-4", "bytes=300000-", "bytes=0-1,5-6", "items=0-1", "bytes=-", "bytes=-0"])
def test_parts_that_do_not_exist(wanted: str, stored: Served) -> None:
    answer = stored.request("GET", "/view?filename=big.bin", headers={"Range": wanted})
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"
    assert not stored.backend.called("DownloadArtifact")


def test_conditions(stored: Served) -> None:
    path = "/view?filename=big.bin"
    plain = stored.request("GET", path)
    assert plain.body == DATA
    etag, date = plain.headers["etag"], plain.headers["last-modified"]
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f'"x", W/{etag}'}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": date}, 304),
        ({"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": etag}, 200),
        ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
        ({"Range": "bytes=0-1", "If-Range": etag}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
    ):
        assert stored.request("GET", path, headers=headers).status == status, headers


def test_an_empty_file(served: Served) -> None:
    served.backend.files["input", "", "none.txt"] = StoredFile(b"")
    answer = served.request("GET", "/view?filename=none.txt&type=input")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")


@pytest.mark.parametrize(
    "name",
    [
        "a.html",
        "a.HTM",
        "a.xhtml",
        "a.css",
        "a.js",
        "a.mjs",
        "a.xml",
        "a.xsl",
        "a.shtml",
        "a.html.gz",
        "a.swf",
        "a.htc",
        "a.svgz",
    ],
)
def test_active_content_is_never_inline(name: str, served: Served) -> None:
    served.backend.files["input", "", name] = StoredFile(b"alert(1)")
    answer = served.request("GET", f"/view?filename={name}&type=input")
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_svg_runs_nothing(served: Served) -> None:
    served.backend.files["input", "", "a.svg"] = StoredFile(b"<svg/>")
    answer = served.request("GET", "/view?filename=a.svg&type=input")
    assert answer.content_type == "image/svg+xml"
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_names_with_other_signs(served: Served) -> None:
    name = 'Bild "é" 😀.png'
    served.backend.files["input", "", name] = StoredFile(b"x")
    query = "Bild%20%22%C3%A9%22%20%F0%9F%98%80.png"
    answer = served.request("GET", f"/view?filename={query}&type=input")
    assert answer.status == 200
    assert answer.headers["content-disposition"] == f"filename=\"Bild ___ _.png\"; filename*=UTF-8''{query}"


def picture(mode: str = "RGBA", size: tuple[int, int] = (8, 6)) -> bytes:
    """An encoded picture."""
    target = io.BytesIO()
    colour = {"RGBA": (10, 200, 30, 77), "RGB": (10, 200, 30), "L": 5, "P": 1}[mode]
    Image.new(mode, size, colour).save(target, "png")
    return target.getvalue()


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P"])
@pytest.mark.parametrize(
    ("query", "kind", "shown"),
    [
        ("preview=webp%3B50", "WEBP", None),
        ("preview=jpeg%3B80", "JPEG", "RGB"),
        ("preview=jpeg&channel=a", "WEBP", None),
        ("preview=png", "WEBP", None),
        ("preview=", "WEBP", None),
        ("channel=rgb", "PNG", "RGB"),
        ("channel=a", "PNG", "RGBA"),
    ],
)
def test_pictures_in_other_forms(mode: str, query: str, kind: str, shown: str | None, served: Served) -> None:
    served.backend.files["output", "", "p.png"] = StoredFile(picture(mode))
    answer = served.request("GET", f"/view?filename=p.png&{query}")
    image = Image.open(io.BytesIO(answer.body))
    assert (image.format, image.size) == (kind, (8, 6))
    assert answer.content_type == f"image/{kind.lower()}"
    if shown:
        assert image.mode == shown
    if query == "channel=a":
        assert image.getpixel((0, 0)) == (0, 0, 0, 77 if mode == "RGBA" else 255)
    if query == "channel=rgb" and mode == "RGBA":
        assert image.getpixel((0, 0)) == (10, 200, 30)


def test_what_is_no_picture_says_so(served: Served) -> None:
    served.backend.files["output", "", "p.png"] = StoredFile(picture()[:40])
    answer = served.request("GET", "/view?filename=p.png&preview=webp")
    assert answer.status == 400 and answer.json["error"]["type"] == "not_an_image"


def test_too_many_pixels_are_not_decoded() -> None:
    with running_bridge(rest_max_image_pixels=1000) as served:
        served.backend.files["output", "", "p.png"] = StoredFile(picture("L", (40, 40)))
        answer = served.request("GET", "/view?filename=p.png&channel=rgb")
        assert answer.status == 400 and answer.json["error"]["type"] == "image_too_large"
        assert answer.json["error"]["extra_info"]["limit"] == "1000"
        assert served.request("GET", "/view?filename=p.png").status == 200
