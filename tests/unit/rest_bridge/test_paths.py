"""Which endpoint a path means."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import Response

from rest_bridge.app.paths import Paths, names
from rest_bridge.bridge import Bridge, Endpoint
from rest_bridge.routes import ENDPOINTS


async def nothing(_bridge: Bridge, _request: Request) -> Response:
    """Never called."""
    return Response()


def endpoint(path: str, aliased: bool = False) -> Endpoint:
    """With one method."""
    return Endpoint(path, {"GET": nothing}, aliased)


MADE = Paths([endpoint("/a"), endpoint("/a/{x}"), endpoint("/a/{x}/to/{y}"), endpoint("/t/{x}/{rest:path}")])


@pytest.mark.parametrize(
    ("raw", "path", "params"),
    [
        (b"/a", "/a", {}),
        (b"/%61", "/a", {}),
        (b"/a/b%2Fc", "/a/{x}", {"x": "b/c"}),
        (b"/a/%252e", "/a/{x}", {"x": "%2e"}),
        (b"/a/%ff", "/a/{x}", {"x": "\ufffd"}),
        (b"/a/to%2Fto/to/z", "/a/{x}/to/{y}", {"x": "to/to", "y": "z"}),
        (b"/t/1/a/b%2Fc", "/t/{x}/{rest:path}", {"x": "1", "rest": "a/b/c"}),
        (b"/t/1/", "/t/{x}/{rest:path}", {"x": "1", "rest": ""}),
    ],
)
def test_what_is_found(raw: bytes, path: str, params: dict[str, str]) -> None:
    found = MADE.find(raw)
    assert found is not None and (found[0].path, found[1]) == (path, params)


@pytest.mark.parametrize("raw", [b"", b"/", b"a", b"/a/", b"//a", b"/a/b/c", b"/t/1", b"/api/a", b"/a%2Fb", b"/A"])
def test_what_is_not(raw: bytes) -> None:
    assert MADE.find(raw) is None


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="/api/a"):
        Paths([endpoint("/a", aliased=True), endpoint("/api/a")])


def test_all_of_ours_are_found_under_all_their_names() -> None:
    paths = Paths(ENDPOINTS)
    for each in ENDPOINTS:
        for name in names(each):
            found = paths.find(name.replace("{", "%7B").replace("}", "%7D").encode())
            assert found is not None and found[0] is each, name
