"""Cache-Control by the path's ending, as observed."""

from __future__ import annotations

import pytest

from rest_bridge.caching import cache_control


@pytest.mark.parametrize(
    ("path", "status", "value"),
    [
        ("/a.js", 200, "no-cache"),
        ("/userdata/user.css", 404, "no-cache"),
        ("/templates/index.de.json", 200, "no-cache"),
        ("/x/reindex.json", 200, None),
        ("/a.PNG", 200, "public, max-age=86400"),
        ("/a.webp", 308, "public, max-age=86400"),
        ("/a.webp", 404, "public, max-age=3600"),
        ("/a.webp", 307, "no-cache"),
        ("/a.webp", 403, None),
        ("/view", 200, None),
        ("/queue", 200, None),
    ],
)
def test_endings(path: str, status: int, value: str | None) -> None:
    assert cache_control(path, status) == value
