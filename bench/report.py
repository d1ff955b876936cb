"""Rows of figures, printed as a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One measured thing against another: `ratio` = `value` / `baseline` in the same unit."""

    what: str
    value: float
    baseline: float
    unit: str
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the baseline."""
        return self.value / self.baseline if self.baseline else float("nan")


def interleaved(rounds: int, *, block: int = 1, **subjects: Callable[[], object]) -> dict[str, list[float]]:
    """Seconds of every subject, called in turn `rounds` times after a warm-up, so that noise hits all alike.

    With `block`, each turn is so many calls, after two that do not count: for calls of milliseconds, which threads that
    still spin from the other subject's call would disturb.
    """
    for subject in subjects.values():
        subject()
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            for _ in range(2 if block > 1 else 0):
                subject()
            for _ in range(block):
                begun = time.perf_counter()
                subject()
                seconds[name].append(time.perf_counter() - begun)
    return seconds


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0..1) of the sorted values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows."""
    table = Table(title=title, title_justify="left")
    for column in ("what", "value", "baseline", "unit", "ratio", "note"):
        table.add_column(column, justify="left" if column in ("what", "unit", "note") else "right")
    for row in rows:
        table.add_row(row.what, f"{row.value:.4g}", f"{row.baseline:.4g}", row.unit, f"{row.ratio:.3g}", row.note)
    Console(width=140).print(table)
