"""Which nodes are needed and which of the ready ones goes first, in ComfyUI's order (it brings previews early)."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping

from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Graph

LANES = ("cpu", "accelerator")
FREE = "free"
"""Async nodes need no thread."""


class Plan:
    """The nodes still to do. `cached` nodes block nobody and are done only if they are outputs themselves.

    Among ready nodes first come output and async nodes, then nodes feeding an output, then nodes whose consumer feeds
    one, then the rest; equals in the order in which they became pending.
    """

    def __init__(
        self, graph: Graph, impls: Mapping[str, NodeImpl], outputs: Iterable[str], cached: Collection[str]
    ) -> None:
        self.pending = _pending(graph, outputs, cached)
        self._index = {node_id: index for index, node_id in enumerate(self.pending)}
        self._consumers: dict[str, list[str]] = {node_id: [] for node_id in self.pending}
        self._blocked = dict.fromkeys(self.pending, 0)
        for node_id in (node_id for node_id in self.pending if node_id not in cached):
            for source in {ref.node_id for _, ref in graph.nodes[node_id].refs()} - set(cached):
                self._consumers[source].append(node_id)
                self._blocked[node_id] += 1
        self._rank = self._ranks(graph, impls)
        self._lane = {
            node_id: _lane(impls[str(graph.nodes[node_id].class_type)], node_id in cached) for node_id in self.pending
        }
        self._ready: dict[str, list[tuple[int, int, str]]] = {lane: [] for lane in (*LANES, FREE)}
        for node_id in self.pending:
            if not self._blocked[node_id]:
                self.release(node_id)

    def lane(self, node_id: str) -> str:
        """Lane that the node needs a slot of; FREE: none."""
        return self._lane[node_id]

    def release(self, node_id: str) -> None:
        """The node is ready (again)."""
        heapq.heappush(self._ready[self._lane[node_id]], (self._rank[node_id], self._index[node_id], node_id))

    def take(self, lanes: Collection[str]) -> str | None:
        """The next ready node of these lanes, which is then no longer ready; None: none is ready now."""
        heads = [self._ready[lane] for lane in lanes if self._ready[lane]]
        return heapq.heappop(min(heads))[2] if heads else None

    def done(self, node_id: str) -> None:
        """The node's outputs exist; its consumers may become ready."""
        for consumer in self._consumers[node_id]:
            self._blocked[consumer] -= 1
            if not self._blocked[consumer]:
                self.release(consumer)

    def _ranks(self, graph: Graph, impls: Mapping[str, NodeImpl]) -> dict[str, int]:
        def impl(node_id: str) -> NodeImpl:
            return impls[str(graph.nodes[node_id].class_type)]

        outputs = {node_id for node_id in self.pending if impl(node_id).spec.output_node}
        feeding = {node_id for node_id in self.pending if not outputs.isdisjoint(self._consumers[node_id])}
        before = {node_id for node_id in self.pending if not feeding.isdisjoint(self._consumers[node_id])}

        def rank(node_id: str) -> int:
            if node_id in outputs or impl(node_id).is_async:
                return 0
            return 1 if node_id in feeding else 2 if node_id in before else 3

        return {node_id: rank(node_id) for node_id in self.pending}


def _lane(impl: NodeImpl, is_cached: bool) -> str:
    # A cached node takes no time, but its turn: ComfyUI tells of it after the nodes before it have run.
    return "cpu" if is_cached else FREE if impl.is_async else impl.spec.lane


def _pending(graph: Graph, outputs: Iterable[str], cached: Collection[str]) -> tuple[str, ...]:
    """From each output backwards, the last input's source first."""
    pending: dict[str, None] = {}
    for output in outputs:
        stack = [output]
        while stack:
            node_id = stack.pop()
            if node_id in pending:
                continue
            pending[node_id] = None
            if node_id not in cached:
                stack.extend(ref.node_id for _, ref in graph.nodes[node_id].refs() if ref.node_id not in cached)
    return tuple(pending)
