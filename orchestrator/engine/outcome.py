"""How a run ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal["succeeded", "failed", "interrupted"]


@dataclass(frozen=True)
class Outcome:
    """`outputs` and `meta`: ui object and origin of every node of the prompt that has one, cached ones included."""

    state: State
    outputs: Mapping[str, Mapping[str, object]]
    meta: Mapping[str, Mapping[str, object]]
    cached: tuple[str, ...]
    executed: tuple[str, ...]
