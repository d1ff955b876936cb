"""Bridges to talk to: one shared by tests of plain requests, fresh ones for tests of sockets and streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.rest.served import Served, running_bridge


@pytest.fixture(scope="session")
def _shared() -> Iterator[Served]:
    with running_bridge() as running:
        yield running


@pytest.fixture
def served(_shared: Served) -> Served:
    """A bridge with default settings and an empty backend."""
    _shared.on_loop(_shared.backend.clear)
    return _shared


@pytest.fixture
def alone() -> Iterator[Served]:
    """As `served`, in a server of its own."""
    with running_bridge() as running:
        yield running
