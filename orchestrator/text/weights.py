"""ComfyUI's prompt weights: `(x)` multiplies by 1.1, `(x:w)` sets w; only `\\(` and `\\)` escape, brackets are text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_EMPHASIS = 1.1
# Escaped parentheses travel through the scan as noncharacters, which no text may contain.
_OPEN, _CLOSE = "\ufdd0", "\ufdd1"


@dataclass(frozen=True)
class Weighted:
    """A run of text with one weight."""

    text: str
    weight: float


def weighted_runs(prompt: str) -> tuple[Weighted, ...]:
    """Runs in order; unbalanced parentheses stay text."""
    hidden = prompt.replace("\\)", _CLOSE).replace("\\(", _OPEN)
    return tuple(Weighted(run.text.replace(_OPEN, "(").replace(_CLOSE, ")"), run.weight) for run in _runs(hidden, 1.0))


def _runs(text: str, weight: float) -> Iterator[Weighted]:
    for item in _items(text):
        if len(item) >= 2 and item[0] == "(" and item[-1] == ")":
            inner, inner_weight = _own_weight(item[1:-1], weight * _EMPHASIS)
            yield from _runs(inner, inner_weight)
        else:
            yield Weighted(item, weight)


def _own_weight(inner: str, default: float) -> tuple[str, float]:
    """Text and weight of a group: the number after the last colon replaces, anything else there is text."""
    colon = inner.rfind(":")
    if colon <= 0:
        return inner, default
    try:
        return inner[:colon], float(inner[colon + 1 :])
    except ValueError:
        return inner, default


def _items(text: str) -> Iterator[str]:
    """Cut at outermost groups; a closing parenthesis too many makes the next opening one text, as in ComfyUI."""
    depth, start = 0, 0
    for i, char in enumerate(text):
        if char == "(":
            if depth == 0 and i > start:
                yield text[start:i]
                start = i
            depth += 1
        elif char == ")":
            depth -= 1
            if depth == 0:
                yield text[start : i + 1]
                start = i + 1
    if start < len(text):
        yield text[start:]
