"""Where the nodes of a run stand, as `progress_state` tells it."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.engine.events import NodeState, NodeStates
from orchestrator.engine.grown import Origin


class States:
    """Nodes that left "pending", in the order in which they did."""

    def __init__(self, origin: Callable[[str], Origin]) -> None:
        self._origin = origin
        self._states: dict[str, NodeState] = {}

    def begin(self, node_id: str) -> NodeStates:
        """The node starts: 0 of 1."""
        return self._set(node_id, 0.0, 1.0, finished=False)

    def advance(self, node_id: str, value: float, maximum: float) -> NodeStates:
        """The node's own counter."""
        return self._set(node_id, value, maximum, finished=False)

    def finish(self, node_id: str) -> NodeStates:
        """The node is done; a cached one was never begun."""
        known = self._states.get(node_id)
        maximum = known.max if known else 1
        return self._set(node_id, maximum, maximum, finished=True)

    def running(self, node_id: str) -> bool:
        """Begun and not finished."""
        known = self._states.get(node_id)
        return known is not None and not known.finished

    def _set(self, node_id: str, value: float, maximum: float, *, finished: bool) -> NodeStates:
        of = self._origin(node_id)
        self._states[node_id] = NodeState(node_id, value, maximum, finished, of.display, of.parent, of.real)
        return NodeStates(tuple(self._states.values()))
