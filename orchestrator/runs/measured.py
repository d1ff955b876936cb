"""How long nodes of each class took here: learned from the events of runs, asked when a run is explained."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.engine.events import Executing, NodeStates
from orchestrator.runs.events import Body

MAX_CLASSES = 2000
MAX_RECENT = 20_000
_WEIGHT = 0.3
"""Of the newest run in the mean: settings and machines change, so old runs fade."""


@dataclass(frozen=True)
class Pace:
    """Mean seconds of one unit of a class's work (a step where it counts steps, else a call), over `runs` runs."""

    class_type: str
    seconds: float
    runs: int


@dataclass
class Timing:
    """Clock of one run: when its nodes began, how long those took that ended (seconds, steps counted)."""

    begun_ms: dict[str, int] = field(default_factory=dict)
    ended: dict[str, tuple[float, float]] = field(default_factory=dict)

    def see(self, body: Body, timestamp_ms: int) -> None:
        """Takes note of an event."""
        match body:
            case Executing(node_id):
                self.begun_ms[node_id] = timestamp_ms
            case NodeStates(nodes):
                for state in nodes:
                    if state.finished and (begun := self.begun_ms.pop(state.node_id, None)) is not None:
                        self.ended[state.node_id] = (timestamp_ms - begun) / 1000, max(1.0, state.max)

    def clear(self) -> None:
        """The run begins anew."""
        self.begun_ms.clear()
        self.ended.clear()


class Measured:
    """Paces by class, and keys of nodes whose results workers had lately."""

    def __init__(self, known: Iterable[Pace] = ()) -> None:
        self._paces = {pace.class_type: pace for pace in known}
        self._recent: OrderedDict[str, None] = OrderedDict()

    def learn(self, timing: Timing, prompt_json: bytes) -> list[Pace]:
        """What a run showed; returns the paces that changed, to be stored."""
        if not timing.ended:
            return []
        prompt = json.loads(prompt_json)
        changed: dict[str, Pace] = {}
        for node_id, (seconds, units) in timing.ended.items():
            node = prompt.get(node_id)  # what nodes expanded into is not in the prompt
            class_type = str(node.get("class_type")) if isinstance(node, dict) else ""
            known = self._paces.get(class_type)
            if not class_type or (known is None and len(self._paces) >= MAX_CLASSES):
                continue
            new = seconds / units
            mean = new if known is None else known.seconds + _WEIGHT * (new - known.seconds)
            changed[class_type] = self._paces[class_type] = Pace(class_type, mean, (known.runs if known else 0) + 1)
        return list(changed.values())

    def remember(self, keys: Iterable[str]) -> None:
        """Results with these keys (see `explain.likenesses`) are probably in a worker's cache."""
        for key in keys:
            self._recent[key] = None
            self._recent.move_to_end(key)
        while len(self._recent) > MAX_RECENT:
            self._recent.popitem(last=False)

    def forget_recent(self) -> None:
        """Workers let go of their results."""
        self._recent.clear()

    def is_recent(self, key: str) -> bool:
        """Whether a node like this ran lately."""
        return key in self._recent

    def seconds(self, class_type: str, inputs: Mapping[str, object]) -> float | None:
        """Expected seconds of a node; None: none of its class has run here."""
        pace = self._paces.get(class_type)
        if pace is None:
            return None
        steps = inputs.get("steps")
        return pace.seconds * (steps if isinstance(steps, int) and steps > 0 else 1)
