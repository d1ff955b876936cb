"""The OpenAPI document: whole, current, and of the routes that there are."""

from __future__ import annotations

import pytest

from rest_bridge.openapi import document
from rest_bridge.openapi.operations import OPERATIONS
from rest_bridge.routes import ENDPOINTS


def test_the_committed_file_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert document.main(["--check"]) == 0, capsys.readouterr().err


def test_every_method_is_described_once() -> None:
    described = document.document()["paths"]
    found = {
        (path, method)
        for path, item in described.items()
        for method in item
        if method in ("get", "post", "patch", "delete")
    }
    assert len(found) == len(OPERATIONS) == sum(len(endpoint.handlers) for endpoint in ENDPOINTS)
    names = [
        item[method]["operationId"] for item in described.values() for method in item if isinstance(item[method], dict)
    ]
    assert len(set(names)) == len(names)


def test_a_gap_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer = dict(OPERATIONS)
    del fewer["GET", "/queue"]
    monkeypatch.setattr(document, "OPERATIONS", fewer)
    with pytest.raises(ValueError, match="/queue"):
        document.document()


def test_recorded_troubles_are_declared() -> None:
    for item in document.document()["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict):
                assert operation["responses"]["500"] == {"$ref": "#/components/responses/Trouble"}
