"""The recorded HTTP and WebSocket traffic: the wide set where it is at hand, else what is committed."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support import reference
from tests.support.stack import REPO

_COMMITTED = REPO / "tests" / "golden" / "http"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _read(name: str) -> Any:
    return json.loads((_COMMITTED / name).read_text("utf-8"))


def http_samples() -> list[dict[str, Any]]:
    """Requests of the plain server in the order sent."""
    return list(_read("http_samples.json")["requests"])


def socket_samples() -> dict[str, list[dict[str, Any]]]:
    """Message logs by name."""
    return {sample["name"]: sample["messages"] for sample in _read("ws_samples.json")["samples"]}


def error_cases() -> list[dict[str, Any]]:
    """Invalid and unusual requests with their answers."""
    return list(json.loads((reference.folder() / "errors.json").read_text("utf-8"))["cases"])
