"""A node's exception as the Failed event tells it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence

from kit.errors import Busy, HeliographError
from orchestrator.engine.events import Failed
from orchestrator.ports import ForeignError

_TORCH_CPU = "can't allocate memory"
_ASKED = re.compile(r"tried to allocate (\d+) bytes")
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
    kind = _type_name(error)
    error = _no_memory(error) if out_of_memory(error) else error
    typed = error if isinstance(error, HeliographError) else None
    return Failed(
        node_id=node_id,
        node_type=node_type,
        executed=tuple(executed),
        exception_message=f"{error}\n",  # ComfyUI ends the message like this
        exception_type=kind,
        traceback=_lines(error) if debug else (),
        current_inputs={name: [_shown(value) for value in values[:_SHOWN_ITEMS]] for name, values in inputs.items()},
        current_outputs=tuple(node_ids),
        reason=typed.reason if typed else "",
        facts=dict(typed.facts) if typed else {},
    )


def blocked(node_id: str, node_type: str, message: str, executed: Sequence[str]) -> Failed:
    """A call that did not take place, told as ComfyUI does; the run goes on."""
    text = f"Execution Blocked: {message}"
    return Failed(node_id, node_type, tuple(executed), text, "ExecutionBlocked", reason="BLOCKED")


def out_of_memory(error: BaseException) -> bool:
    """Python's, or a framework's own, told by name or text: the engine knows no framework.

    (torch.OutOfMemoryError on a GPU; a RuntimeError of its allocator on the CPU.)
    """
    if isinstance(error, RuntimeError) and _TORCH_CPU in str(error):
        return True
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def _no_memory(error: BaseException) -> HeliographError:
    asked = _ASKED.search(str(error))
    facts = {"bytes": asked[1]} if asked else {}
    busy = Busy(
        "there is not enough memory for this: a smaller picture or batch needs less", reason="NO_MEMORY", **facts
    )
    return busy.with_traceback(error.__traceback__)


def _lines(error: BaseException) -> tuple[str, ...]:
    return error.lines if isinstance(error, ForeignError) else tuple(traceback.format_tb(error.__traceback__))


def _type_name(error: BaseException) -> str:
    if isinstance(error, ForeignError):
        return error.type_name
    kind = type(error)
    plain = isinstance(error, HeliographError) or kind.__module__ == "builtins"
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value: object) -> object:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
