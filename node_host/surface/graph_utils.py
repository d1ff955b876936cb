"""comfy_execution.graph_utils and .graph: graphs that take a node's place, and values that stop what is behind them."""

from __future__ import annotations

from typing import Any

from node_host.surface.running import current


class ExecutionBlocker:
    """As an output: whoever takes it does not run. A message is shown to the user as an error; None: silently."""

    def __init__(self, message: str | None) -> None:
        self.message = message


def is_link(obj: object) -> bool:
    """[node id, output number]."""
    if not isinstance(obj, list) or len(obj) != 2:
        return False
    return isinstance(obj[0], str) and isinstance(obj[1], (int, float)) and not isinstance(obj[1], bool)


class Node:
    """A node of a graph; `id` has the graph's prefix."""

    def __init__(self, id: str, class_type: str, inputs: dict[str, Any]) -> None:
        self.id = id
        self.class_type = class_type
        self.inputs = inputs
        self.override_display_id: str | None = None

    def out(self, index: int) -> list[Any]:
        """A link to one of its outputs."""
        return [self.id, index]

    def set_input(self, key: str, value: Any) -> None:
        """None takes the input away."""
        if value is None:
            self.inputs.pop(key, None)
        else:
            self.inputs[key] = value

    def get_input(self, key: str) -> Any:
        """None: there is none."""
        return self.inputs.get(key)

    def set_override_display_id(self, override_display_id: str) -> None:
        """The node that the user sees instead."""
        self.override_display_id = override_display_id

    def serialize(self) -> dict[str, Any]:
        """In API format."""
        shown = {} if self.override_display_id is None else {"override_display_id": self.override_display_id}
        return {"class_type": self.class_type, "inputs": self.inputs, **shown}


class GraphBuilder:
    """Without a prefix it is a graph of the node that is running."""

    def __init__(self, prefix: str | None = None) -> None:
        self.prefix = self._next_prefix() if prefix is None else prefix
        self.nodes: dict[str, Node] = {}
        self.id_gen = 1

    @staticmethod
    def _next_prefix() -> str:
        entry = current()
        return entry.next_graph() if entry is not None else ""

    def node(self, class_type: str, id: str | None = None, **kwargs: Any) -> Node:
        """A new node, or the one that has the id already."""
        if id is None:
            id = str(self.id_gen)
            self.id_gen += 1
        full = self.prefix + id
        if full not in self.nodes:
            self.nodes[full] = Node(full, class_type, kwargs)
        return self.nodes[full]

    def lookup_node(self, id: str) -> Node | None:
        """By the id that was given to `node`."""
        return self.nodes.get(self.prefix + id)

    def finalize(self) -> dict[str, Any]:
        """All nodes in API format."""
        return {node_id: node.serialize() for node_id, node in self.nodes.items()}

    def replace_node_output(self, node_id: str, index: int, new_value: Any) -> None:
        """Whoever takes that output takes the value instead; None: nothing."""
        link = [self.prefix + node_id, index]
        for node in self.nodes.values():
            for key in [key for key, value in node.inputs.items() if is_link(value) and value == link]:
                node.set_input(key, new_value)

    def remove_node(self, id: str) -> None:
        """Nodes that are linked to it keep their links."""
        self.nodes.pop(self.prefix + id, None)


def add_graph_prefix(graph: dict[str, Any], outputs: Any, prefix: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """The graph under other ids, and the outputs linked to them."""

    def moved(value: Any) -> Any:
        return [prefix + value[0], value[1]] if is_link(value) else value

    nodes = {
        prefix + node_id: {**node, "inputs": {name: moved(value) for name, value in node.get("inputs", {}).items()}}
        for node_id, node in graph.items()
    }
    return nodes, tuple(map(moved, outputs))
