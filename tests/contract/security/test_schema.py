"""Requests that Schemathesis makes of docs/openapi.yaml, right ones and wrong ones, with a real front behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.security.conftest import Trapped
from tests.support.stack import REPO

API = schemathesis.openapi.from_path(REPO / "docs" / "openapi.yaml")
CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble\n\n"
EXAMPLES = 8
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
# It becomes another protocol.
LEFT_OUT = frozenset({("GET", "/ws")})
# Any text in the path and any JSON in the body are right.
NEVER_WRONG = frozenset({("POST", "/settings/{id}")})


def tried() -> Iterator[object]:
    """Every operation; also wrongly where something in it can be wrong."""
    for found in (each.ok() for each in API.get_all_operations()):
        key = (found.method.upper(), found.path)
        wrong = (found.query or found.body) and key not in NEVER_WRONG
        for mode in BOTH if wrong else BOTH[:1]:
            if key not in LEFT_OUT:
                yield pytest.param(found, mode, id=f"{' '.join(key)} {mode.value}")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(("operation", "mode"), list(tried()))
def test_the_api_is_as_described(
    operation: schemathesis.schemas.APIOperation, mode: GenerationMode, trapped: Trapped
) -> None:
    """Every answer has a described status, type and shape; a 500 is ComfyUI's for a request that cannot be read."""
    session = requests.Session()

    @seeded(1)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), derandomize=False,
    )  # fmt: skip
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(base_url=f"http://127.0.0.1:{trapped.served.port}", session=session, timeout=20)
        if answer.status_code == 500:
            assert answer.text.startswith(TROUBLE) and len(answer.text) > len(TROUBLE), case.as_curl_command()
        case.validate_response(answer, checks=CHECKS)

    try:
        ask()
    finally:
        session.close()
        trapped.served.post_json("/queue", {"clear": True})
