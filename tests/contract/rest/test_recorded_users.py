"""Recorded requests about users, settings and user files, in the order in which they were recorded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.contract.rest import recordings
from tests.contract.rest.served import Answer, Served, running_bridge

PARTS = ("users", "settings", "userdata", "v2")
TIMES = ("modified", "created")


def part_of(sample: dict[str, Any]) -> str:
    """First segment of the path."""
    return str(sample["request"]["path"].partition("?")[0].split("/")[1])


SAMPLES = [sample for sample in recordings.http_samples() if part_of(sample) in PARTS]


def ask(served: Served, sample: dict[str, Any], prefix: str) -> Answer:
    """Sends it."""
    request = sample["request"]
    if "json" in request:
        return served.post_json(prefix + request["path"], request["json"])
    body = request["data"].encode() if "data" in request else None
    return served.request(request["method"], prefix + request["path"], body)


def timeless(value: Any) -> Any:
    """The same JSON with every time made 1.0: recorded ones are of another day."""
    if isinstance(value, dict):
        return {k: 1.0 if k in TIMES and isinstance(v, float) else timeless(v) for k, v in value.items()}
    return [timeless(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("prefix", ["", "/api"])
def test_the_whole_recorded_session(prefix: str) -> None:
    assert len(SAMPLES) == 30
    with running_bridge() as served:
        for sample in SAMPLES:
            answer, want = ask(served, sample, prefix), sample["headers"]
            about = (sample["request"]["method"], sample["request"]["path"])
            assert answer.status == sample["status"], about
            assert answer.content_type == want.get("Content-Type", ""), about
            assert answer.headers.get("accept-ranges") == want.get("Accept-Ranges"), about
            for name in ("Etag", "Last-Modified"):
                assert (name.lower() in answer.headers) == (name in want), about
            if "Etag" in want:
                assert re.fullmatch(r'"[0-9a-f]+-7"', answer.headers["etag"])
            if "body_json" in sample:
                assert timeless(answer.json) == timeless(sample["body_json"]), about
            else:
                assert answer.body.decode() == sample.get("body_text", ""), about
