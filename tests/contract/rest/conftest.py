"""A fresh bridge for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.rest.served import Served, running_bridge


@pytest.fixture
def served() -> Iterator[Served]:
    """Bridge with default settings and an empty backend."""
    with running_bridge() as running:
        yield running
