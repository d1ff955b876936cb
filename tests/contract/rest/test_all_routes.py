"""Rules that hold for every route: HEAD as GET, wrong methods, OPTIONS, foreign pages, services that are away."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rest_bridge.app.paths import names
from rest_bridge.bridge import Endpoint
from rest_bridge.routes import ENDPOINTS
from tests.contract.rest.served import Served, running_bridge

EVERY = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
EVIL = {"Origin": "http://evil.example"}
# Status codes that need somebody behind the bridge when there is nobody.
AWAY = (503, 504)
ALONE = frozenset(
    {"/", "/extensions", "/features", "/i18n", "/settings", "/settings/{id}", "/users", "/workflow_templates"}
    | {"/internal/logs", "/internal/logs/raw", "/v2/userdata"}
)
HOSTILE = ("%00", "..", "%2e%2e%2f%2e%2e", "%ff%fe", "%F0%9F%98%80", "a" * 5000, "%3Cscript%3E", "%5C")


def path_of(endpoint: Endpoint, value: str = "0") -> str:
    """The path with every parameter set."""
    return re.sub(r"\{[^}]*\}", value, endpoint.path)


@pytest.fixture(scope="module")
def lonely() -> Iterator[Served]:
    """A bridge with nothing behind it."""
    with running_bridge(with_front=False, rest_call_timeout_s=2.0) as served:
        yield served


@EVERY
def test_head_is_get_without_a_body(endpoint: Endpoint, served: Served) -> None:
    if "GET" not in endpoint.handlers:
        return
    got, head = (served.request(method, path_of(endpoint)) for method in ("GET", "HEAD"))
    assert (head.status, head.body, head.content_type) == (got.status, b"", got.content_type)


@EVERY
def test_wrong_methods_and_options(endpoint: Endpoint, served: Served) -> None:
    for name in names(endpoint):
        path = name.replace(endpoint.path, path_of(endpoint))
        answer = served.request("PUT", path)
        allowed = {"HEAD", *endpoint.handlers} if "GET" in endpoint.handlers else set(endpoint.handlers)
        assert (answer.status, set(answer.headers["allow"].split(","))) == (405, allowed)
        assert (served.request("OPTIONS", path).status, served.request("OPTIONS", path).body) == (200, b"")


@EVERY
def test_foreign_pages_reach_nothing(endpoint: Endpoint, served: Served) -> None:
    for method in endpoint.handlers:
        answer = served.request(method, path_of(endpoint), b"{}" if method != "GET" else None, EVIL)
        assert (answer.status, answer.body) == (403, b"")
        rebound = served.request(method, path_of(endpoint), headers={"Host": "evil.example:80"})
        assert (rebound.status, rebound.body) == (403, b"")
    assert served.backend.calls == [] and served.backend.uploads_begun == 0


@EVERY
def test_services_that_are_away(endpoint: Endpoint, lonely: Served) -> None:
    if "GET" in endpoint.handlers:
        status = lonely.request("GET", path_of(endpoint)).status
        if endpoint.path in ALONE:
            assert status == 200
        else:
            assert status in (*AWAY, 400, 404)


@EVERY
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_parameters_break_nothing(endpoint: Endpoint, value: str, served: Served) -> None:
    if "{" not in endpoint.path:
        return
    for method in endpoint.handlers:
        answer = served.request(method, path_of(endpoint, value), b"{}" if method != "GET" else None)
        assert answer.status < 500, (method, answer)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"<script>" not in answer.body or answer.content_type.startswith("application/json")
