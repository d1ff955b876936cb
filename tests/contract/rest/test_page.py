"""The page at `/`: it stands alone, runs nothing but itself, and asks only for what there is."""

from __future__ import annotations

import base64
import hashlib
import re

from rest_bridge.app.paths import Paths
from rest_bridge.routes import ENDPOINTS
from tests.contract.rest.served import Served

INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def test_its_policy_names_exactly_what_is_in_it(served: Served) -> None:
    answer = served.request("GET", "/")
    assert answer.status == 200 and answer.content_type == "text/html; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["pragma"], answer.headers["expires"]) == (
        "no-cache",
        "no-cache",
        "0",
    )
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    found = INLINE.findall(answer.body.decode())
    assert sorted(kind for kind, _ in found) == ["script", "style"]
    for kind, text in found:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_it_needs_nothing_from_elsewhere(served: Served) -> None:
    text = served.request("GET", "/").body.decode()
    assert "http://" not in text and "https://" not in text
    assert 'name="viewport"' in text
    # Nothing that turns a text of the server's into markup or script, and nothing that the policy would refuse.
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "style=", 'onclick="'):
        assert forbidden not in text


def test_it_asks_only_for_paths_that_there_are(served: Served) -> None:
    text, paths = served.request("GET", "/").body.decode(), Paths(ENDPOINTS)
    asked = set(re.findall(r"\"(/[a-z_/]+)", text)) - {"/cancel"}
    assert {"/api/jobs", "/history", "/view", "/models", "/system_stats", "/ws"} <= asked
    for path in asked:
        assert paths.find((path + "x" if path.endswith("/") else path).encode()) is not None, path


def test_it_is_small_and_does_not_wait_for_anybody(served: Served) -> None:
    assert len(served.request("GET", "/").body) < 16 * 1024
    assert served.backend.calls == []
