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
from orchestrator.runs.records import RunRecord
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
