"""Typed errors as HTTP answers, and the checks before any endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kit import errors
from tests.contract.rest.served import Served, running_bridge

PROMPT = {"prompt": {"1": {"class_type": "A", "inputs": {}}}}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.Conflict("taken", reason="PROMPT_ID_TAKEN", prompt_id="a"), 409, "prompt_id_taken"),
        (errors.Busy("full", reason="QUEUE_FULL", limit=3), 429, "queue_full"),
        (errors.Unready("warming", reason="WARMING"), 503, "warming"),
        (errors.TooSlow("late"), 504, "deadline"),
        (errors.Unsupported("unknown", reason="ARCH_UNKNOWN"), 501, "arch_unknown"),
        (errors.Blocked("no", reason="CONTENT_BLOCKED"), 400, "content_blocked"),
        (errors.InvalidRequest("bad id", reason="BAD_ID"), 400, "bad_id"),
        (errors.InvalidPrompt("bad"), 400, "invalid_prompt"),
        (errors.NotFound("nothing"), 404, "not_found"),
        (RuntimeError("a bug"), 500, "bug"),
    ],
)
def test_typed_errors(error: Exception, status: int, kind: str, served: Served) -> None:
    served.backend.fail["SubmitRun"] = error
    answer = served.post_json("/prompt", PROMPT)
    assert (answer.status, answer.json["error"]["type"]) == (status, kind)
    assert answer.content_type == "application/json; charset=utf-8"
    assert ("retry-after" in answer.headers) == (status in (429, 503, 504))
    assert "a bug" not in answer.body.decode()
    if isinstance(error, errors.HeliographError):
        assert answer.json["error"]["extra_info"] == error.facts


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "null",
        "5",
        '"\\ud800',
        "[" * 200_000,
        "\ufeff{}",
        '{"prompt": null}',
        '{"prompt": 5}',
        '{"prompt": "a"}',
        '{"prompt": [1]}',
        '{"prompt": {}, "number": null}',
        '{"prompt": {}, "number": "x"}',
        '{"prompt": {}, "number": []}',
        '{"prompt": {}, "extra_data": null, "client_id": "c"}',
        '{"prompt": {}, "extra_data": [], "client_id": "c"}',
    ],
)
def test_what_cannot_be_read_is_trouble(body: str, served: Served) -> None:
    answer = served.request("POST", "/prompt", body.encode())
    assert (answer.status, answer.content_type) == (500, "text/plain; charset=utf-8")
    assert answer.body.startswith(b"500 Internal Server Error\n\nServer got itself in trouble\n\n")
    assert not served.backend.called("SubmitRun")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"number": "nan"}, "invalid_number"),
        ({"number": "inf"}, "invalid_number"),
        ({"extra_data": [1]}, "invalid_extra_data"),
        ({"partial_execution_targets": "4"}, "invalid_targets"),
    ],
)
def test_what_makes_no_sense_is_named(body: dict[str, Any], kind: str, served: Served) -> None:
    answer = served.post_json("/prompt", {**PROMPT, **body})
    assert (answer.status, answer.json["error"]["type"]) == (400, kind)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{}"])
def test_no_prompt_is_asked_of_the_front(body: bytes, served: Served) -> None:
    answer = served.request("POST", "/prompt", body)
    assert (answer.status, answer.json["error"]["type"]) == (400, "no_prompt")
    assert served.backend.counter == 1  # the counter advances on refused prompts too


def submitted(served: Served, **fields: Any) -> Any:
    """What the front gets for a prompt with further fields."""
    assert served.post_json("/prompt", {**PROMPT, **fields}).status == 200
    return served.backend.called("SubmitRun")[-1]


def test_fields_of_a_submission(served: Served) -> None:
    assert submitted(served, prompt_id=None).prompt_id == ""
    assert submitted(served, prompt_id=12).prompt_id == "12"
    assert submitted(served, client_id=None).client_id == ""
    assert submitted(served, client_id=5).client_id == "5"
    assert submitted(served, extra_data={"client_id": "inner"}).client_id == "inner"
    assert submitted(served, extra_data=None).extra_data_json == b"{}"
    assert submitted(served, front=True).front
    request = submitted(served)
    assert not request.targets_given and not request.HasField("number")
    request = submitted(served, partial_execution_targets=[4, "5"], number=0)
    assert (request.targets_given, list(request.partial_execution_targets), request.number) == (True, ["4", "5"], 0.0)
    assert submitted(served, partial_execution_targets=[]).targets_given
    assert json.loads(submitted(served, prompt=[]).prompt_json) == {}


def test_large_prompts_are_read(served: Served) -> None:
    request = submitted(served, extra_data={"extra_pnginfo": {"workflow": "x" * (5 * 1024 * 1024)}})
    assert len(request.extra_data_json) > 5 * 1024 * 1024


def status(served: Served, **headers: str) -> int:
    """Status of a plain request with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.request("GET", "/queue", headers=named).status


def test_strict_origins(served: Served) -> None:
    port = served.port
    assert status(served) == 200
    assert status(served, Origin=f"http://127.0.0.1:{port}") == 200
    assert status(served, Origin="http://127.0.0.1") == 200
    assert status(served, Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == 200
    assert status(served, Host=f"[::1]:{port}", Origin=f"http://[::1]:{port}") == 200
    for origin in (
        "http://evil.example",
        "http://127.0.0.1:1",
        f"http://localhost:{port}",
        "null",
        "",
        "http://[",
        "file://",
    ):
        assert status(served, Origin=origin) == 403, origin
    assert status(served, Host="myhost.example:8388") == 403
    assert status(served, Host="127.0.0.1.evil.example") == 403
    assert status(served, Host="127.0.0.1@evil.example") == 403
    refused = served.request("POST", "/interrupt", b"", {"Origin": "http://evil.example"})
    assert (refused.status, refused.body, refused.content_type) == (403, b"", "")
    assert not served.backend.called("CancelRun")


def test_allowed_hosts() -> None:
    with running_bridge(rest_allowed_hosts="Box.lan, other") as served:
        assert status(served, Host="box.lan:8188", Origin="http://box.lan:8188") == 200
        assert status(served, Host="box.lan", Origin="http://evil.example") == 403
        assert status(served, Host="third") == 403


def test_origins_as_comfyui_has_them() -> None:
    with running_bridge(rest_origin_policy="comfyui") as served:
        assert status(served, Origin="null") == 200
        assert status(served, Host="myhost.example:8388", Origin="http://evil.example") == 200
        assert status(served, Origin="http://evil.example") == 403
        assert status(served, Origin=f"http://localhost:{served.port}") == 403


def test_cors() -> None:
    with running_bridge(rest_cors_origin="*") as served:
        answer = served.request("GET", "/nope", headers={"Origin": "http://evil.example"})
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (404, "*")
        answer = served.request("OPTIONS", "/prompt", headers={"Origin": "http://evil.example"})
        assert answer.headers["access-control-allow-methods"] == "POST, GET, DELETE, PUT, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == "Content-Type, Authorization"
        assert answer.headers["access-control-allow-credentials"] == "true"
    with running_bridge(rest_cors_origin="https://ui.example") as served:
        assert status(served, Origin="https://ui.example") == 200
        assert status(served, Origin="https://evil.example") == 403
        assert status(served, Origin=f"http://127.0.0.1:{served.port}") == 200


def test_no_cors_headers_by_default(served: Served) -> None:
    assert not [name for name in served.request("GET", "/queue").headers if name.startswith("access-control")]
