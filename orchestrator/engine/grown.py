"""The graph of a run: the submitted nodes, and those that nodes expanded into while it ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kit.errors import InvalidRequest
from orchestrator.graph.prompt import Graph, Node

MAX_GROWN = 50_000
"""Nodes that a run may expand into; a loop that never ends must end."""
_DISPLAY = "override_display_id"


@dataclass(frozen=True)
class Origin:
    """Who a node is: itself as the user sees it, its parent ("" : submitted) and the submitted node behind it."""

    display: str
    parent: str
    real: str

    def as_meta(self, node_id: str) -> dict[str, object]:
        """As history shows it."""
        return {
            "node_id": node_id, "display_node": self.display, "parent_node": self.parent or None,
            "real_node_id": self.real,
        }  # fmt: skip


class Grown:
    """Nodes by id; ids are never given twice."""

    def __init__(self, graph: Graph) -> None:
        self.nodes: dict[str, Node] = dict(graph.nodes)
        self._submitted = len(self.nodes)
        self._origins: dict[str, Origin] = {}

    def origin(self, node_id: str) -> Origin:
        """Of any node."""
        return self._origins.get(node_id) or Origin(node_id, "", node_id)

    def grow(self, parent: str, children: Mapping[str, Node]) -> None:
        """Adds what a node expanded into. Raises InvalidRequest (EXPANSION_*)."""
        taken = [node_id for node_id in children if node_id in self.nodes]
        if taken:
            raise InvalidRequest(
                "a node expanded into ids that the graph has already", reason="EXPANSION_IDS", node_ids=taken[:5]
            )
        grown = len(self.nodes) - self._submitted + len(children)
        if grown > MAX_GROWN:
            raise InvalidRequest(
                "the graph has expanded into too many nodes: a loop may not end", reason="EXPANSION_TOO_LARGE",
                nodes=grown, max_nodes=MAX_GROWN,
            )  # fmt: skip
        of = self.origin(parent)
        for node_id, node in children.items():
            shown = node.raw.get(_DISPLAY)
            self._origins[node_id] = Origin(shown if isinstance(shown, str) else of.display, parent, of.real)
            self.nodes[node_id] = node


class Seen(Mapping[str, object]):
    """What a node with the hidden input DYNPROMPT gets: every node as JSON, those that grew included."""

    def __init__(self, grown: Grown) -> None:
        self._grown = grown

    def __getitem__(self, node_id: str) -> object:
        return self._grown.nodes[node_id].as_json()

    def __iter__(self) -> Iterator[str]:
        return iter(self._grown.nodes)

    def __len__(self) -> int:
        return len(self._grown.nodes)
