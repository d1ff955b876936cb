"""Which nodes are needed and which of the ready ones goes first, in ComfyUI's order (it brings previews early)."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping

from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Graph, Node

LANES = ("cpu", "accelerator")
FREE = "free"
"""Async nodes need no thread."""

_Entry = tuple[int, int, str]


class Plan:
    """The nodes still to do; more may come while a run goes on.

    `cached` nodes block nobody and are done only if they are outputs themselves. Lazy inputs block nobody either,
    until `wait` says so. Among ready nodes first come output and async nodes, then nodes feeding an output, then nodes
    whose consumer feeds one, then the rest; equals in the order in which they became pending.
    """

    def __init__(self, nodes: Mapping[str, Node], impls: Mapping[str, NodeImpl], cached: Iterable[str]) -> None:
        self._nodes = nodes  # grows
        self._impls = impls
        self._cached = set(cached)
        self._done: set[str] = set()
        self._index: dict[str, int] = {}
        self._sources: dict[str, list[str]] = {}
        self._consumers: dict[str, list[str]] = {}
        self._blocked: dict[str, int] = {}
        self._queued: dict[str, _Entry] = {}
        self._ready: dict[str, list[_Entry]] = {lane: [] for lane in (*LANES, FREE)}

    @property
    def pending(self) -> tuple[str, ...]:
        """All nodes that were added, in order, done ones too."""
        return tuple(self._index)

    @property
    def stuck(self) -> list[str]:
        """Nodes that wait for others; if nothing runs and nothing is ready, they wait in a circle."""
        return [node_id for node_id, count in self._blocked.items() if count and node_id not in self._done]

    def add(self, roots: Iterable[str]) -> None:
        """These nodes are needed, and all that they need: from each backwards, the last input's source first."""
        new: list[str] = []
        for root in roots:
            stack = [root]
            while stack:
                node_id = stack.pop()
                if node_id in self._index or node_id in self._done:
                    continue
                self._index[node_id] = len(self._index)
                self._sources[node_id], self._blocked[node_id] = [], 0
                self._consumers.setdefault(node_id, [])
                new.append(node_id)
                stack.extend(self._needed_by(node_id))
        for node_id in new:
            for source in dict.fromkeys(self._needed_by(node_id)):
                self._link(source, node_id)
        for node_id in new:
            if not self._blocked[node_id]:
                self.release(node_id)

    def wait(self, node_id: str, sources: Iterable[str]) -> None:
        """A node that was taken waits for these; it is ready at once if they are there."""
        missing = [source for source in dict.fromkeys(sources) if not self._here(source)]
        self.add(missing)
        for source in missing:
            self._link(source, node_id)
        if not self._blocked[node_id]:
            self.release(node_id)

    def found(self, node_ids: Iterable[str]) -> None:
        """These nodes need not run."""
        self._cached.update(node_ids)

    def lane(self, node_id: str) -> str:
        """Lane that the node needs a slot of; FREE: none."""
        impl = self._impl(node_id)
        # A cached node takes no time, but its turn: ComfyUI tells of it after the nodes before it have run.
        return "cpu" if node_id in self._cached else FREE if impl.is_async else impl.spec.lane

    def release(self, node_id: str) -> None:
        """The node is ready (again)."""
        entry = (self._rank(node_id), self._index[node_id], node_id)
        self._queued[node_id] = entry
        heapq.heappush(self._ready[self.lane(node_id)], entry)

    def take(self, lanes: Collection[str]) -> str | None:
        """The next ready node of these lanes, which is then no longer ready; None: none is ready now."""
        heads = [heap for lane in lanes if (heap := self._fresh(lane))]
        if not heads:
            return None
        node_id = heapq.heappop(min(heads))[2]
        del self._queued[node_id]
        return node_id

    def done(self, node_id: str) -> None:
        """The node's outputs exist; its consumers may become ready."""
        self._done.add(node_id)
        for consumer in self._consumers[node_id]:
            self._blocked[consumer] -= 1
            if not self._blocked[consumer]:
                self.release(consumer)

    def _fresh(self, lane: str) -> list[_Entry]:
        """The lane's heap, without entries at its top that were queued anew with another rank."""
        heap = self._ready[lane]
        while heap and self._queued.get(heap[0][2]) != heap[0]:
            heapq.heappop(heap)
        return heap

    def _needed_by(self, node_id: str) -> list[str]:
        if node_id in self._cached:
            return []
        spec = self._impl(node_id).spec
        refs = self._nodes[node_id].refs()
        return [ref.node_id for name, ref in refs if not spec.is_lazy(name) and not self._here(ref.node_id)]

    def _here(self, node_id: str) -> bool:
        return node_id in self._cached or node_id in self._done

    def _link(self, source: str, consumer: str) -> None:
        self._consumers[source].append(consumer)
        self._sources[consumer].append(source)
        self._blocked[consumer] += 1
        # A new consumer can bring its source forward, and what feeds that.
        for node_id in (source, *self._sources[source]):
            queued = self._queued.get(node_id)
            if queued is not None and self._rank(node_id) < queued[0]:
                self.release(node_id)

    def _rank(self, node_id: str) -> int:
        if self._is_output(node_id) or self._impl(node_id).is_async:
            return 0
        consumers = self._consumers[node_id]
        if any(map(self._is_output, consumers)):
            return 1
        return 2 if any(self._is_output(far) for near in consumers for far in self._consumers[near]) else 3

    def _is_output(self, node_id: str) -> bool:
        return self._impl(node_id).spec.output_node

    def _impl(self, node_id: str) -> NodeImpl:
        return self._impls[str(self._nodes[node_id].class_type)]


def needed_for(outputs: Iterable[str], graph: Graph) -> dict[str, None]:
    """The outputs and all they are linked to, also nodes that do not exist, in the order in which they are found."""
    needed: dict[str, None] = {}
    stack = list(outputs)
    while stack:
        node_id = stack.pop()
        if node_id in needed:
            continue
        needed[node_id] = None
        if node_id in graph.nodes:
            stack.extend(ref.node_id for _, ref in graph.nodes[node_id].refs())
    return needed
