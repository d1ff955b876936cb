"""What a worker says of a leased run."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.runs.events import Body
from orchestrator.runs.records import Outcome


@dataclass(frozen=True)
class Attach:
    """First message: which lease."""

    run_id: str
    lease_id: str


@dataclass(frozen=True)
class Happened:
    """An event of the run."""

    body: Body
    timestamp_ms: int


@dataclass(frozen=True)
class Heartbeat:
    """The worker lives."""


Report = Attach | Happened | Heartbeat | Outcome
