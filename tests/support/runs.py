"""Builders of run records and events for tests of the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.engine.events import Executed, Previewed
from orchestrator.ports import PreviewImage
from orchestrator.runs.board import Limits
from orchestrator.runs.events import Body, RunEvent
from orchestrator.runs.journal import Journal
from orchestrator.runs.line import Hello, LeaseReport, Said
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord
from orchestrator.runs.reports import Attach, Happened
from orchestrator.runs.runs import Runs


def record(run_id: str = "r", **fields: Any) -> RunRecord:
    values: dict[str, Any] = {
        "run_id": run_id, "order": 0, "number": 0.0, "number_given": False, "prompt_json": b"{}",
        "extra_data_json": b"{}", "client_id": "", "outputs_to_execute": ("1",), "node_errors_json": b"{}",
        "body_hash": run_id.encode(), "created_ms": 1, **fields,
    }  # fmt: skip
    return RunRecord(**values)


def event(sequence: int, body: Body | None = None) -> RunEvent:
    return RunEvent("r", sequence, "", 0, "epoch", body or Executed("1", "1", None))


def picture(size: int) -> Previewed:
    return Previewed("1", "1", "", "1", PreviewImage("image/jpeg", b"x" * size))


@asynccontextmanager
async def open_runs(folder: Path, **limits: Any) -> AsyncIterator[Runs]:
    runs = await Runs.open(Journal(folder / "runs.db"), "epoch", Limits(**limits))
    yield runs
    await runs.close()


class Hand:
    """A worker's stream without a socket: one that takes a lease at a time unless told otherwise."""

    def __init__(self, runs: Runs, name: str = "w", ahead: int = 0, held: tuple[Attach, ...] = ()) -> None:
        self._lines = runs.leasing.lines
        self.line = self._lines.open(Hello(name, ahead, held))
        self.free = FreeRequest()
        self.lost: list[str] = []
        self.stored: list[str] = []
        self._leases: list[RunRecord] = []

    async def lease(self) -> RunRecord:
        """The next one."""
        while not self._leases:
            await self.line.changed.wait()
            self.listen()
        return self._leases.pop(0)

    def listen(self) -> None:
        """Takes in what there is."""
        orders = self.line.next_orders()
        self._leases += orders.leases
        self.lost += orders.lost
        self.stored += orders.stored
        self.free |= orders.free

    def say(self, lease_id: str, *bodies: Body, at: int = 1, outcome: Outcome | None = None) -> None:
        """News of a lease."""
        happened = tuple(Happened(body, at) for body in bodies)
        self._lines.hear(self.line, Said(reports=(LeaseReport(lease_id, True, happened, outcome),)))

    async def end(self, lease_id: str, outcome: Outcome) -> None:
        """Ends a lease and waits for the answer."""
        self.say(lease_id, outcome=outcome)
        while lease_id not in self.stored:
            await self.line.changed.wait()
            self.listen()

    def hang_up(self) -> None:
        """The stream breaks."""
        self._lines.close(self.line, keep=False)
