"""What a worker says of a leased run."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.runs.events import Body


@dataclass(frozen=True)
class Attach:
    """A lease that the worker has begun."""

    run_id: str
    lease_id: str


@dataclass(frozen=True)
class Happened:
    """An event of the run."""

    body: Body
    timestamp_ms: int
