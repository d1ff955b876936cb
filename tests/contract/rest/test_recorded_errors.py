"""Every recorded invalid or unusual request gets the recorded status, content type and body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from heliograph.graph.v1 import run_service_pb2 as graph

from kit.errors import InvalidPrompt
from tests.contract.rest import recordings
from tests.contract.rest.served import Answer, Served, multipart, running_bridge

CASES = recordings.error_cases()


@pytest.fixture(scope="module")
def shared() -> Iterator[Served]:
    """One bridge for all cases: they leave nothing that another would notice."""
    with running_bridge() as served:
        served.backend.models.update(embeddings={}, checkpoints={})
        yield served


def front_answers(case: dict[str, Any], served: Served) -> None:
    """Scripts the front: what validation says is its business, that it arrives unchanged is ours."""
    response = case["response"]

    def submit(request: graph.SubmitRunRequest) -> graph.SubmitRunResponse:
        if response["status"] == 400:
            raise InvalidPrompt("refused", body=response["json"])
        return graph.SubmitRunResponse(
            run_id=request.prompt_id or "new",
            number=1,
            node_errors_json=json.dumps(response["json"]["node_errors"]).encode(),
        )

    served.backend.submit = submit


def send(case: dict[str, Any], served: Served) -> Answer:
    """Sends a recorded request."""
    request = case["request"]
    headers, body = dict(request.get("headers", {})), None
    if "json" in request:
        body = json.dumps(request["json"]).encode()
    elif "text" in request:
        body = request["text"].encode()
    elif "multipart" in request:
        body, headers["Content-Type"] = multipart(
            [(part["name"], part.get("filename"), part["data"].encode()) for part in request["multipart"]]
        )
    return served.request(request["method"], request["path"], body, headers)


def masked(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: "*" if key in ("prompt_id", "number", "traceback") else masked(item) for key, item in value.items()
        }
    return [masked(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_answer_is_the_recorded_one(case: dict[str, Any], shared: Served) -> None:
    front_answers(case, shared)
    answer, want = send(case, shared), case["response"]
    assert (answer.status, answer.content_type) == (want["status"], want["content_type"])
    if "text" in want:
        said = answer.body.decode()  # what is wrong follows the recorded text of a 500
        assert said.startswith(want["text"] + "\n\n") if want["status"] == 500 else said == want["text"]
    elif "json" not in want:
        assert answer.body == b""
    elif case["match"] != "status":
        assert masked(answer.json) == masked(want["json"])
