"""User files and settings: hostile names, bounds, writers at once, and files that change under us."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.contract.rest.served import WAIT_S, Served, running_bridge

SECRET = b"not for you"
# As sent: each is one segment of the path.
HOSTILE = (
    "..",
    "%2e%2e",
    "..%2Fsecret",
    "%2e%2e%2Fsecret",
    "a%2F..%2F..%2F..%2Fsecret",
    "..%2F..%2Fuser%2Fdefault%2F..%2F..%2F..%2Fsecret",
    "%2Fetc%2Fpasswd",
    "%2F%2Fetc%2Fpasswd",
    "..%5C..%5Csecret",
    "a%5Cb",
    "C%3A%5Cx",
    "a%00b",
    "%00",
    "a%0Ab",
    "link",
    "link%2Fsecret",
    "file-link",
    "loop%2Fx",
    "x" * 300,
    "%2F".join(["d"] * 40),
)


@pytest.fixture
def rooted(tmp_path: Path) -> Iterator[Served]:
    """A bridge whose user's folder holds links that lead outside."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "data" / "user" / "default"
    root.mkdir(parents=True)
    (root / "link").symlink_to(tmp_path)
    (root / "file-link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root / "loop")
    (root / "a.txt").write_bytes(b"mine")
    with running_bridge(data_dir=tmp_path / "data") as served:
        yield served
    assert (tmp_path / "secret").read_bytes() == SECRET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "secret"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_outside(name: str, rooted: Served) -> None:
    for method, path, body in (
        ("GET", f"/userdata/{name}", None),
        ("POST", f"/userdata/{name}", b"overwritten"),
        ("DELETE", f"/userdata/{name}", None),
        ("POST", f"/userdata/{name}/move/b.txt", b""),
        ("POST", f"/userdata/a.txt/move/{name}", b""),
        ("GET", f"/userdata?dir={name}", None),
        ("GET", f"/v2/userdata?path={name}", None),
    ):
        answer = rooted.request(method, path, body)
        assert answer.status == 403, (method, path)
        assert SECRET not in answer.body
    assert rooted.request("GET", "/userdata/a.txt").body == b"mine"


def test_plain_slashes_are_other_paths(rooted: Served) -> None:
    assert rooted.request("POST", "/userdata/sub%2Fx.json", b"1").status == 200
    assert rooted.request("GET", "/userdata/sub%2Fx.json").body == b"1"
    for path in ("/userdata/sub/x.json", "/userdata/", "/userdata/../../secret", "/api/userdata/sub/x.json"):
        assert rooted.request("GET", path).status == 404, path
    assert rooted.request("GET", "/userdata/sub%252Fx.json").status == 404  # decoded once


def test_lists_do_not_follow_links_outside(rooted: Served) -> None:
    assert rooted.request("GET", "/userdata?dir=.&recurse=true").json == ["a.txt"]
    assert [entry["name"] for entry in rooted.request("GET", "/v2/userdata").json] == ["a.txt"]


def test_files_that_look_active_are_not(rooted: Served) -> None:
    for name in ("x.html", "x.xhtml", "x.js", "x.svg"):
        rooted.request("POST", f"/userdata/{name}", b"<script>alert(1)</script>")
        answer = rooted.request("GET", f"/userdata/{name}")
        assert answer.headers["x-content-type-options"] == "nosniff"
        if name == "x.svg":
            assert answer.headers["content-security-policy"].startswith("sandbox")
        else:
            assert answer.content_type == "application/octet-stream"
    rooted.request("POST", "/userdata/user.css", b"body{}")
    assert rooted.request("GET", "/userdata/user.css").content_type == "text/css"


def test_parts_and_conditions(rooted: Served) -> None:
    answer = rooted.request("GET", "/userdata/a.txt", headers={"Range": "bytes=1-2"})
    assert (answer.status, answer.body, answer.headers["content-range"]) == (206, b"in", "bytes 1-2/4")
    etag = rooted.request("HEAD", "/userdata/a.txt").headers["etag"]
    assert rooted.request("GET", "/userdata/a.txt", headers={"If-None-Match": etag}).status == 304
    assert rooted.request("GET", "/userdata/a.txt", headers={"Range": "bytes=9-"}).status == 416


def test_folders_and_files_do_not_mix(rooted: Served) -> None:
    rooted.request("POST", "/userdata/sub%2Fx.json", b"1")
    assert rooted.request("POST", "/userdata/sub", b"1").status == 400
    assert rooted.request("POST", "/userdata/a.txt%2Fb", b"1").status == 400
    assert rooted.request("POST", "/userdata/a.txt/move/sub", b"").status == 400
    assert rooted.request("DELETE", "/userdata/sub").status == 404
    assert rooted.request("GET", "/userdata/sub").status == 404
    assert rooted.request("POST", "/userdata/none/move/x", b"").status == 404
    assert rooted.request("POST", "/userdata/.", b"1").status == 403


def test_nothing_stays_behind(tmp_path: Path) -> None:
    with running_bridge(data_dir=tmp_path, max_upload_mib=1, rest_user_files=3, rest_user_mib=1) as served:
        assert served.request("POST", "/userdata/big", b"x" * (2 * 1024 * 1024)).status == 413
        chunked = (b"x" * 1024 * 512 for _ in range(4))
        assert served.request("POST", "/userdata/big", chunked).status == 413  # type: ignore[arg-type]
        assert served.request("POST", "/userdata/half", b"x" * 700_000).status == 200
        refused = served.request("POST", "/userdata/more", b"x" * 700_000)
        assert (refused.status, refused.json["error"]["type"]) == (429, "user_files_full")
        assert served.request("POST", "/userdata/half", b"y" * 1_000_000).status == 200  # replaces what is there
        assert served.request("POST", "/userdata/half", b"").status == 200
        assert served.post_json("/settings/a", 1).status == 200
        assert served.request("POST", "/userdata/two", b"2").status == 200
        assert served.request("POST", "/userdata/three", b"3").status == 429
        assert served.request("GET", "/userdata?dir=.").json == ["comfy.settings.json", "half", "two"]
        assert not list((tmp_path / "user" / ".partial").iterdir())


def test_folders_count(tmp_path: Path) -> None:
    with running_bridge(data_dir=tmp_path, rest_user_files=4) as served:
        assert served.request("POST", "/userdata/a%2Fb%2Fc%2Fd%2Fe", b"1").status == 429
        assert served.request("POST", "/userdata/a%2Fb%2Fc", b"1").status == 200
        assert served.request("DELETE", "/userdata/a%2Fb%2Fc").status == 204
        assert served.request("POST", "/userdata/x%2Fy%2Fz", b"1").status == 429
        assert served.request("POST", "/userdata/f", b"1").status == 200
        assert served.request("POST", "/userdata/g", b"1").status == 200
        assert served.request("POST", "/userdata/f/move/a%2Fb%2Ff", b"").status == 200  # full, but no more than before
        assert served.request("POST", "/userdata/g/move/n%2Fg", b"").status == 429
        assert not (tmp_path / "user" / "default" / "n").exists()


def test_clients_that_stop_halfway_leave_nothing(tmp_path: Path) -> None:
    with running_bridge(data_dir=tmp_path, rest_body_stall_s=0.3) as served:
        head = b"POST /userdata/half HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nbegun"
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as waiting:
            waiting.sendall(head)
            assert waiting.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as leaving:
            leaving.sendall(head)
        partial = tmp_path / "user" / ".partial"
        served.until(lambda: not list(partial.iterdir()))
        assert served.request("GET", "/userdata/half").status == 404


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    with running_bridge(data_dir=tmp_path) as one, running_bridge(data_dir=tmp_path) as two:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda i: (one, two)[i % 2].post_json(f"/settings/key-{i}", i), range(40)))
        assert {answer.status for answer in answers} == {200}
        assert one.request("GET", "/settings").json == {f"key-{i}": i for i in range(40)}
        with ThreadPoolExecutor(8) as pool:
            body = b"z" * 300_000
            path = "/userdata/same?overwrite=false"
            taken = list(pool.map(lambda i: (one, two)[i % 2].request("POST", path, body).status, range(8)))
        assert sorted(taken) == [200] + [409] * 7
    text = (tmp_path / "user" / "default" / "comfy.settings.json").read_text()
    assert text.startswith('{\n    "key-') and json.loads(text)


@pytest.mark.parametrize("body", ["", "{", "[1]", '"x"', "5", "null"])
def test_settings_that_cannot_be_read(body: str, served: Served) -> None:
    before = served.request("GET", "/settings").json
    assert served.request("POST", "/settings", body.encode()).status == 500
    assert served.request("GET", "/settings").json == before


def test_settings_that_cannot_be_stored(served: Served) -> None:
    assert served.request("POST", "/settings/a", b"NaN").json["error"]["type"] == "settings_not_json"
    assert served.request("POST", "/settings/a", b"[" * 200_000 + b"]" * 200_000).status == 500
    assert served.post_json("/settings/a", "x" * (5 * 1024 * 1024)).json["error"]["type"] == "settings_too_large"
    assert served.request("GET", "/settings/a").json is None


def test_a_settings_file_that_somebody_broke(tmp_path: Path) -> None:
    file = tmp_path / "user" / "default" / "comfy.settings.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"a": 1')
    with running_bridge(data_dir=tmp_path) as served:
        assert served.request("GET", "/settings").json == {}
        assert served.post_json("/settings", {"b": 2}).status == 200
        assert served.request("GET", "/settings").json == {"b": 2}
    assert file.with_name(file.name + ".broken").read_text() == '{"a": 1'


def test_ids_with_slashes_are_one_segment(served: Served) -> None:
    assert served.request("GET", "/settings/a%2Fb").json is None
    assert served.request("GET", "/history/a%2Fb").json == {}
    assert served.request("GET", "/settings/a/b").status == 404


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "user").write_bytes(b"a file in its place")
    with running_bridge(data_dir=tmp_path) as served:
        refused = served.post_json("/settings/a", 1)
        assert (refused.status, refused.json["error"]["type"]) == (503, "user_files_unwritable")
        assert served.request("POST", "/userdata/a", b"1").status == 503
        assert served.request("GET", "/settings").json == {}


def test_users(served: Served) -> None:
    assert served.request("POST", "/users", b"{}").status == 500
    assert served.request("POST", "/users", b"").status == 500
