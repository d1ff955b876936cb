"""Which Host and Origin headers pass."""

from __future__ import annotations

import pytest

from rest_bridge.guard import OriginRules

HERE = "10.0.0.5"


@pytest.mark.parametrize(
    ("host", "origin", "strict", "comfyui"),
    [
        (None, None, True, True),
        (None, "http://a", False, True),
        ("127.0.0.1:8188", None, True, True),
        ("127.0.0.1:8188", "http://127.0.0.1:8188", True, True),
        ("127.0.0.1:8188", "https://127.0.0.1:8188", True, True),
        ("127.0.0.1:8188", "http://127.0.0.1:9999", False, False),
        ("127.0.0.1:8188", "http://127.0.0.1", True, True),
        ("127.0.0.1:8188", "null", False, True),
        ("127.0.0.1:8188", "http://localhost:8188", False, False),
        ("127.9.9.9", "http://127.9.9.9", True, True),
        ("LOCALHOST:1", "http://localhost:1", True, True),
        ("[::1]:1", "http://[::1]:1", True, True),
        ("evil.example", None, False, True),
        ("evil.example", "http://evil.example", False, True),
        ("10.0.0.5:8188", "http://10.0.0.5:8188", True, True),
        ("10.0.0.5:8188", "http://evil.example", False, True),
        ("10.0.0.6:8188", None, False, True),
        ("box", "http://box", True, True),
        ("box:99999", None, False, True),
        ("127.0.0.1:8188", "http://127.0.0.1:99999", False, False),
    ],
)
def test_policies(host: str | None, origin: str | None, strict: bool, comfyui: bool) -> None:
    allowed = frozenset({"box"})
    assert OriginRules("strict", allowed).allows(host, origin, HERE) is strict
    assert OriginRules("comfyui", allowed).allows(host, origin, HERE) is comfyui


def test_a_cors_origin_opens_for_itself_only() -> None:
    rules = OriginRules(cors_origin="https://ui")
    assert rules.allows("127.0.0.1", "https://ui", HERE)
    assert not rules.allows("127.0.0.1", "https://other", HERE)
    assert not rules.allows("evil.example", "https://ui", HERE)
    assert OriginRules(cors_origin="*").allows("evil.example", "null", HERE)
