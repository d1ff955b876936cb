"""Names from clients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rest_bridge import filenames


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("a.png", ("a.png", None)),
        ("a.png [input]", ("a.png", "input")),
        ("a.png [temp]", ("a.png", "temp")),
        ("up.png[input]", ("up.pn", "input")),
        ("a [b].png", ("a [b].png", None)),
        ("[output]", ("", "output")),
    ],
)
def test_annotations(given: str, want: tuple[str, str | None]) -> None:
    assert filenames.annotated(given) == want


@pytest.mark.parametrize(
    ("given", "want"),
    [
        ("", ""),
        (".", ""),
        ("a/b/", "a/b"),
        ("a/../b", "b"),
        ("a//b/./c", "a/b/c"),
        ("..", None),
        ("../a", None),
        ("a/../..", None),
        ("/a", None),
        ("//a", None),
        ("a\0b", None),
        ("..a", "..a"),
    ],
)
def test_subfolders(given: str, want: str | None) -> None:
    assert filenames.inside(given) == want


@given(st.text(max_size=40))
def test_an_accepted_name_is_one_part_that_stays_where_it_is(filename: str) -> None:
    name = filenames.upload_name(filename)
    if name is not None:
        assert name not in ("", ".", "..") and "/" not in name and "\\" not in name and "\0" not in name
        assert filename.endswith(name)


@given(st.text(max_size=60))
def test_a_disposition_cannot_break_out_of_its_header(filename: str) -> None:
    value = filenames.disposition(filename)
    assert value.isascii() and value.isprintable()
    assert value.count('"') == 2


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("a.png", "image/png"),
        ("a.WEBP", "image/webp"),
        ("a.svg", "image/svg+xml"),
        ("a.mp4", "video/mp4"),
        ("a.txt", "text/plain"),
        ("a.json", "application/json"),
        ("a.latent", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("a.html", "application/octet-stream"),
        ("a.js", "application/octet-stream"),
        ("a.xml", "application/octet-stream"),
        ("a.svg.gz", "application/octet-stream"),
    ],
)
def test_content_types(name: str, want: str) -> None:
    assert filenames.content_type(name) == want
