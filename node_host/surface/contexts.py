"""comfy_execution.utils and .progress: who is running."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from node_host.surface import running


class ExecutionContext(NamedTuple):
    """Run, node and which of its calls."""

    prompt_id: str
    node_id: str
    list_index: int | None


def get_executing_context() -> ExecutionContext | None:
    """None: nothing runs here."""
    entry = running.current()
    if entry is None:
        return None
    index = entry.call.id_prefix.rstrip(".").rpartition(".")[2]
    number = None
    with suppress(ValueError):
        number = int(index)
    return ExecutionContext(entry.call.run_id, entry.call.node_id, number)


class _Registry:
    def update_progress(self, node_id: str, value: float, max_value: float, image: Any = None) -> None:
        """Of the node that is running."""
        running.progress(float(value), float(max_value))


def get_progress_state() -> _Registry:
    """Takes progress."""
    return _Registry()
