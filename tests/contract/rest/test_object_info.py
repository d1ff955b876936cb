"""`/object_info` of all classes: sent once, compressed, and at once anew when it has changed."""

from __future__ import annotations

import gzip
import json

import pytest

from tests.contract.rest.served import Served

GZIP = {"Accept-Encoding": "deflate, gzip;q=0.9"}


def test_whoever_has_it_gets_nothing_until_it_changes(served: Served) -> None:
    served.on_loop(lambda: served.backend.object_info.update(A={"input": {}}))
    before = len(served.backend.called("ListNodeTypes"))
    first = served.request("GET", "/object_info", headers=GZIP)
    assert first.headers["content-encoding"] == "gzip" and "accept-encoding" in first.headers["vary"].lower()
    known = json.loads(gzip.decompress(first.body))
    assert known["A"] == {"input": {}}
    plain = served.request("GET", "/object_info")
    assert "content-encoding" not in plain.headers and plain.json == known
    assert plain.headers["etag"] == first.headers["etag"]
    for path in ("/object_info", "/api/object_info"):
        again = served.request("GET", path, headers={**GZIP, "If-None-Match": f'"x", {first.headers["etag"]}'})
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    asked = served.backend.called("ListNodeTypes")[before + 1 :]
    assert asked and all(request.known_version for request in asked)
    served.on_loop(lambda: served.backend.object_info.update(B={}))
    fresh = served.request("GET", "/object_info", headers={"If-None-Match": first.headers["etag"]})
    assert fresh.status == 200 and "B" in fresh.json and fresh.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize(
    ("accepted", "gzipped"),
    [
        ("gzip", True),
        ("*", True),
        ("br, GZIP ; q=0.5", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0", False),
        ("br", False),
    ],
)
def test_only_those_who_take_it_get_it_compressed(accepted: str, gzipped: bool, served: Served) -> None:
    answer = served.request("GET", "/object_info", headers={"Accept-Encoding": accepted})
    assert ("content-encoding" in answer.headers) is gzipped
