"""The hidden input DYNPROMPT: every node of the run, those that grew included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PARTS = 3  # PARENT.CALL.GRAPH.N


class NodeNotFoundError(Exception):
    """There is no such node."""


class DynPrompt:
    """Nodes by id; who made one is in its id."""

    def __init__(self, nodes: Mapping[str, Any] | None) -> None:
        self._nodes = dict(nodes or {})

    def has_node(self, node_id: str) -> bool:
        """Whether there is such a node."""
        return node_id in self._nodes

    def get_node(self, node_id: str) -> dict[str, Any]:
        """In API format. Raises NodeNotFoundError."""
        try:
            found: dict[str, Any] = self._nodes[node_id]
        except KeyError:
            raise NodeNotFoundError(f"Node {node_id} not found") from None
        return found

    def all_node_ids(self) -> set[str]:
        """Of the whole run."""
        return set(self._nodes)

    def get_original_prompt(self) -> dict[str, Any]:
        """What was submitted."""
        return {node_id: node for node_id, node in self._nodes.items() if self.get_parent_node_id(node_id) is None}

    def get_parent_node_id(self, node_id: str) -> str | None:
        """The node that expanded into it; None: it was submitted."""
        parent, *parts = node_id.rsplit(".", _PARTS)
        return parent if len(parts) == _PARTS and parent in self._nodes else None

    def get_real_node_id(self, node_id: str) -> str:
        """The submitted node behind it."""
        while (parent := self.get_parent_node_id(node_id)) is not None:
            node_id = parent
        return node_id

    def get_display_node_id(self, node_id: str) -> str:
        """The node that the user sees."""
        while (parent := self.get_parent_node_id(node_id)) is not None:
            shown = self._nodes.get(node_id, {}).get("override_display_id")
            if shown:
                return str(shown)
            node_id = parent
        return node_id
