"""A node's exception as the Failed event tells it."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence

from kit.errors import HeliographError
from orchestrator.engine.events import Failed

_SHOWN_CHARACTERS = 2000
_SHOWN_ITEMS = 100


def failed(
    node_id: str,
    node_type: str,
    error: BaseException,
    *,
    executed: Sequence[str],
    node_ids: Sequence[str],
    inputs: Mapping[str, tuple[object, ...]],
    debug: bool,
) -> Failed:
    """`executed`: nodes that had finished; `node_ids`: all of the prompt (ComfyUI's current_outputs)."""
    typed = error if isinstance(error, HeliographError) else None
    return Failed(
        node_id=node_id,
        node_type=node_type,
        executed=tuple(executed),
        exception_message=f"{error}\n",  # ComfyUI ends the message like this
        exception_type=_type_name(error),
        traceback=tuple(traceback.format_tb(error.__traceback__)) if debug else (),
        current_inputs={name: [_shown(value) for value in values[:_SHOWN_ITEMS]] for name, values in inputs.items()},
        current_outputs=tuple(node_ids),
        reason=typed.reason if typed else "NO_MEMORY" if out_of_memory(error) else "",
        facts=dict(typed.facts) if typed else {},
    )


def out_of_memory(error: BaseException) -> bool:
    """Python's, or a framework's own (torch.OutOfMemoryError), told by name: the engine knows no framework."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _type_name(error: BaseException) -> str:
    kind = type(error)
    plain = isinstance(error, HeliographError) or kind.__module__ == "builtins"
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
