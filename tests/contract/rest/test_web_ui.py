"""ComfyUI's web UI as static files: where they come from, their headers, and what they must not hide."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.errors import Unready
from rest_bridge import web_ui
from tests.contract.rest.served import Served, running_bridge

SECRET = b"not for you"


@pytest.fixture
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The static folder of a stand-in for the package, found before a real one."""
    folder = tmp_path / "site" / web_ui.PACKAGE / "static"
    for name, content in {
        "index.html": b"<html>the ui</html>", "assets/a.js": b"a()", "picture.png": b"png",
        "extensions/core/one.js": b"1", "extensions/core/deep/two.js": b"2",
    }.items():  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder.parent / "__init__.py").touch()
    (tmp_path / "secret.txt").write_bytes(SECRET)
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.delitem(sys.modules, web_ui.PACKAGE, raising=False)
    importlib.invalidate_caches()
    return folder


@pytest.fixture
def served(static: Path) -> Iterator[Served]:
    with running_bridge(rest_web_ui="on") as running:
        yield running


def test_the_ui_is_at_the_root_and_our_page_beside_it(served: Served) -> None:
    answer = served.request("GET", "/")
    assert answer.body == b"<html>the ui</html>"
    assert (answer.headers["cache-control"], answer.headers["pragma"], answer.headers["expires"]) == (
        "no-cache", "no-cache", "0",
    )  # fmt: skip
    assert b"Heliograph" in served.request("GET", "/heliograph").body


def test_files_have_comfyuis_cache_headers(served: Served) -> None:
    script, picture = served.request("GET", "/assets/a.js"), served.request("GET", "/picture.png")
    assert script.headers["cache-control"] == "no-cache" and "javascript" in script.content_type
    assert picture.headers["cache-control"] == "public, max-age=86400"
    again = served.request("GET", "/picture.png", headers={"If-None-Match": picture.headers["etag"]})
    assert again.status == 304
    assert served.request("HEAD", "/picture.png").status == 200


def test_routes_are_not_hidden_by_files(static: Path, served: Served) -> None:
    (static / "queue").write_bytes(b"a file")
    assert served.request("GET", "/queue").json == {"queue_running": [], "queue_pending": []}
    assert served.request("GET", "/extensions").json == ["/extensions/core/deep/two.js", "/extensions/core/one.js"]
    assert served.request("GET", "/api/queue").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../__init__.py", "/%2e%2e/__init__.py", "/assets/../../__init__.py", "/link.txt", "/assets", "/absent.js",
        "//etc/passwd", "/..%2f..%2fsecret.txt", "/assets/a.js%00.png",
    ],
)  # fmt: skip
def test_nothing_outside_and_no_folders(served: Served, path: str) -> None:
    answer = served.request("GET", path)
    assert answer.status in (404, 307) and SECRET not in answer.body


def test_without_the_package_our_page_is_at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_ui, "find_spec", lambda name: None)
    assert web_ui.web_ui("auto") is None
    with pytest.raises(Unready, match="ui"):
        web_ui.web_ui("on")
    with running_bridge(rest_web_ui="auto") as running:
        assert b"Heliograph" in running.request("GET", "/").body
