"""What a foreign page could do through a visitor's browser: run script in our origin, post forms, rebind names."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping

import pytest
from websockets.exceptions import InvalidStatus

from tests.contract.rest.served import Answer, Served, multipart
from tests.contract.security.conftest import Trapped

SCRIPT = b"<script>fetch('/interrupt',{method:'POST'})</script>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
ACTIVE = {
    "a.html": SCRIPT, "a.htm": SCRIPT, "A.HTML": SCRIPT, "a.xhtml": SCRIPT, "a.xht": SCRIPT, "a.shtml": SCRIPT,
    "a.svg": SVG, "a.SVG": SVG, "a.svgz": b"\x1f\x8b", "a.xml": SVG, "a.xsl": SVG, "a.xslt": SVG, "a.rss": SVG,
    "a.rdf": SVG, "a.mml": SVG, "a.pdf": b"%PDF-1.7 /JS (app.alert(1))", "a.js": b"alert(1)", "a.mjs": b"alert(1)",
    "a.cjs": b"alert(1)", "a.wasm": b"\0asm", "a.css": b"@import '//evil'", "a.swf": b"FWS", "a.jar": b"PK",
    "a.htc": SCRIPT, "a.mht": SCRIPT, "a.mhtml": SCRIPT, "a.hta": SCRIPT, "a.html.png.html": SCRIPT, "a.": SCRIPT,
    "html": SCRIPT, "a.manifest": b"CACHE MANIFEST", "a.webmanifest": b"{}", "a.png.xhtml": SCRIPT, "a.xbl": SVG,
}  # fmt: skip
LOOKS_PASSIVE = {"a.png": SCRIPT, "a.jpg": SVG, "a.txt": SCRIPT, "a.json": SCRIPT, "a.webp": SCRIPT, "a.mp4": SCRIPT}
RUNS = ("html", "xml", "javascript", "ecmascript", "pdf", "css", "wasm", "flash", "java", "manifest")


def harmless(answer: Answer) -> bool:
    """No browser runs this in our origin: an inert type that may not be guessed anew, or a sandbox."""
    kind = answer.content_type.partition(";")[0]
    policy = answer.headers.get("content-security-policy", "")
    sandboxed = policy.startswith("sandbox;") and "allow-" not in policy and "default-src 'none'" in policy
    inert = not any(word in kind.removeprefix("image/svg+xml") for word in RUNS) and bool(kind)
    return answer.headers["x-content-type-options"] == "nosniff" and inert and (sandboxed or kind != "image/svg+xml")


@pytest.mark.parametrize("name", [*ACTIVE, *LOOKS_PASSIVE])
def test_an_uploaded_page_runs_nowhere(name: str, trapped: Trapped) -> None:
    served, content = trapped.served, {**ACTIVE, **LOOKS_PASSIVE}[name]
    for area in ("input", "output", "temp"):
        form = [("image", name, content), ("type", None, area.encode()), ("overwrite", None, b"1")]
        assert served.post_form("/upload/image", form).status == 200
        shown = served.request("GET", f"/view?filename={name}&type={area}")
        assert (shown.status, shown.body) == (200, content)
        assert harmless(shown), shown.headers
        part = served.request("GET", f"/view?filename={name}&type={area}", headers={"Range": "bytes=0-3"})
        assert part.status == 206 and harmless(part)
        (trapped.data / area / name).unlink()
    for query in ("preview=webp", "preview=jpeg", "channel=rgb", "channel=a"):
        assert served.request("GET", f"/view?filename={name}&type=input&{query}").status in (400, 404)


@pytest.mark.parametrize("name", sorted({*ACTIVE, *LOOKS_PASSIVE} - {"a.css"}))
def test_a_page_among_the_users_files_runs_nowhere(name: str, trapped: Trapped) -> None:
    content = {**ACTIVE, **LOOKS_PASSIVE}[name]
    assert trapped.served.request("POST", f"/userdata/{name}", content).status == 200
    answer = trapped.served.request("GET", f"/userdata/{name}")
    assert answer.body == content and harmless(answer), answer.headers
    assert trapped.served.request("DELETE", f"/userdata/{name}").status == 204


def test_a_style_sheet_is_one_only_among_the_users_files(trapped: Trapped) -> None:
    """The web UI loads user.css from there; as nosniff CSS it can be no page."""
    trapped.served.request("POST", "/userdata/user.css", SCRIPT)
    answer = trapped.served.request("GET", "/userdata/user.css")
    assert (answer.content_type, answer.headers["x-content-type-options"]) == ("text/css", "nosniff")
    trapped.served.request("DELETE", "/userdata/user.css")


@pytest.mark.parametrize(
    "path",
    [
        "/nothing<script>alert(1)</script>", "/view?filename=<script>", "/userdata?dir=<script>",
        "/models/<script>alert(1)</script>", "/object_info/<script>alert(1)</script>", "/api/jobs?status=<script>",
        "/history/<script>", "/internal/files/<script>", "/settings/<script>", "/view_metadata/x?filename=<script>",
    ],
)  # fmt: skip
def test_nothing_is_reflected_as_a_page(path: str, trapped: Trapped) -> None:
    answer = trapped.served.request("GET", path.replace("<", "%3C").replace(">", "%3E"))
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert b"<script>" not in answer.body or answer.content_type.startswith("application/json")
    assert not answer.content_type.startswith("text/html")


def test_refused_prompts_reflect_json_only(trapped: Trapped) -> None:
    evil = "<img src=x onerror=alert(1)>"
    answer = trapped.served.post_json("/prompt", {"prompt": {evil: {"class_type": evil, "inputs": {}}}})
    assert (answer.status, answer.content_type) == (400, "application/json; charset=utf-8")
    assert answer.headers["x-content-type-options"] == "nosniff"


FORM, form_type = multipart([("image", "csrf.png", b"x")])
SIMPLE: tuple[tuple[str, bytes, str], ...] = (
    ("/prompt", b'{"prompt": {}}', "text/plain"),
    ("/prompt", b'{"prompt": {}}', "application/x-www-form-urlencoded"),
    ("/queue", b'{"clear": true}', "text/plain"),
    ("/history", b'{"clear": true}', "text/plain"),
    ("/interrupt", b"", "text/plain"),
    ("/free", b'{"unload_models": true}', "text/plain"),
    ("/settings/a", b'"evil"', "text/plain"),
    ("/userdata/csrf.txt", b"evil", "text/plain"),
    ("/upload/image", FORM, form_type),
    ("/api/jobs/cancel", b'{"job_ids": ["a"]}', "text/plain"),
)
"""What a page may send without asking first: no preflight guards it."""

FOREIGN: tuple[Mapping[str, str], ...] = (
    {"Origin": "http://evil.example"},
    {"Origin": "https://127.0.0.1.evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "file://"},
    {"Origin": "chrome-extension://abc"},
    {"Origin": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Host": "evil.example"},
    {"Host": "evil.example:8188", "Origin": "http://evil.example:8188"},
    {"Host": "127.0.0.1.nip.io"},
    {"Host": "localhost.evil.example"},
    {"Host": "127.0.0.1@evil.example"},
    {"Host": "[::1].evil.example"},
    {"Host": "evil.example@127.0.0.1"},
    {"Host": "evil.example/127.0.0.1"},
    {"Host": "0.0.0.0"},
)


def asked(served: Served) -> list[str]:
    """What was asked of the services behind; the bridge follows the events by itself."""
    return [name for name, _ in served.backend.calls if name != "WatchRuns"]


@pytest.mark.parametrize("headers", FOREIGN, ids=[json.dumps(headers) for headers in FOREIGN])
def test_a_foreign_page_changes_nothing(headers: Mapping[str, str], served: Served) -> None:
    before = served.request("GET", "/settings").body
    for path, body, kind in SIMPLE:
        answer = served.request("POST", path, body, {"Content-Type": kind, **headers})
        assert (answer.status, answer.body) == (403, b""), path
    assert served.request("PATCH", "/internal/logs/subscribe", b"{}", headers).status == 403
    assert served.request("DELETE", "/userdata/a.txt", None, headers).status == 403
    assert asked(served) == [] and served.backend.files == {}
    assert served.request("GET", "/settings").body == before


@pytest.mark.parametrize("headers", FOREIGN, ids=[json.dumps(headers) for headers in FOREIGN])
def test_a_foreign_page_reads_nothing(headers: Mapping[str, str], served: Served) -> None:
    for path in ("/view?filename=a.png", "/history", "/queue", "/object_info", "/userdata?dir=.", "/internal/logs"):
        answer = served.request("GET", path, None, headers)
        assert (answer.status, answer.body) == (403, b""), path
    assert asked(served) == []


def test_a_link_from_elsewhere_opens_the_page(served: Served) -> None:
    by_link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert served.request("GET", "/", None, by_link).status == 200
    assert served.request("GET", "/queue", None, {"Sec-Fetch-Site": "same-origin"}).status == 200
    assert served.request("GET", "/queue", None, {"Sec-Fetch-Site": "none"}).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "file://"])
def test_a_foreign_page_gets_no_socket(origin: str, served: Served) -> None:
    for path in ("/ws", "/api/ws"):
        with (
            pytest.raises(InvalidStatus) as refused,
            served.socket("spy", path, additional_headers={"Origin": origin}),
        ):
            pass
        assert refused.value.response.status_code == 403


def test_a_rebound_name_gets_no_socket(served: Served) -> None:
    head = b"GET /ws HTTP/1.1\r\nHost: evil.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as client:
        client.sendall(head + key)
        assert client.recv(100).startswith(b"HTTP/1.1 403")


def test_no_answer_opens_itself_to_other_origins(served: Served) -> None:
    for path in ("/", "/queue", "/object_info", "/view?filename=a.png"):
        for method in ("GET", "OPTIONS"):
            headers = served.request(method, path).headers
            assert not [name for name in headers if name.startswith("access-control-")], path


def test_our_own_page_runs_nothing_but_itself(served: Served) -> None:
    policy = served.request("GET", "/").headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert part in policy
    assert "unsafe" not in policy
