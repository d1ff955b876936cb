"""What a pack's function returned -> what the engine takes: results, a graph in the node's place, things to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from kit.node_values import NodeLink
from node_host.nodes import Expansion, Graph, GraphNode, Result
from node_host.packs.values import Kept, has_opaque, tagged, travels
from node_host.surface.graph_utils import ExecutionBlocker, is_link

_OPEN = frozenset({"LATENT", "CONDITIONING", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "AUDIO", "*"})
"""Types whose values the engine knows, beside tensors."""
_NESTING = 32


def outcome(returned: Any, types: Sequence[str], lists: Sequence[bool], prefix: str) -> Result | Expansion:
    """`types` and `lists`: of the outputs. Raises TypeError, ValueError for what ComfyUI would not take."""
    ui: Any = None
    graph: Any = None
    if isinstance(returned, dict):
        ui, graph, values = returned.get("ui"), returned.get("expand"), returned.get("result")
    else:
        values = returned
    if isinstance(values, ExecutionBlocker):
        values = (values,) * len(types)
    if values is None:
        values = ()
    if not isinstance(values, (tuple, list)):
        raise TypeError(f"a node returns a tuple, a dict or an ExecutionBlocker, and no {type(values).__name__}")
    # As ComfyUI: what is too much is ignored, what is missing matters to whoever is linked to it.
    filled = [*values[: len(types)], *(None for _ in types[len(values) :])]
    if graph is not None:
        links = [
            NodeLink(v[0], int(v[1])) if is_link(v) else _output(v, kind, many)
            for v, kind, many in zip(filled, types, lists)
        ]
        return Expansion(_graph(graph, prefix), tuple(links), _shown(ui))
    made = (_output(value, kind, many) for value, kind, many in zip(filled, types, lists))
    return Result(tuple(made), _shown(ui))


def _graph(graph: Mapping[str, Any], prefix: str) -> Graph:
    nodes = []
    for node_id, node in graph.items():
        inputs = {
            str(name): NodeLink(value[0], int(value[1])) if is_link(value) else _plain_or_kept(value)
            for name, value in node.get("inputs", {}).items()
        }
        nodes.append(GraphNode(node_id, node["class_type"], inputs, node.get("override_display_id") or ""))
    return Graph(prefix, nodes)


def _output(value: Any, kind: str, many: bool) -> Any:
    if isinstance(value, ExecutionBlocker) or value is None:
        return value
    if many:
        return [_one(item, kind) for item in value]
    return _one(value, kind)


def _one(value: Any, kind: str) -> Any:
    if isinstance(value, torch.Tensor):
        return _with_sides(value, kind)
    if isinstance(value, (dict, list, tuple)):
        return value if kind in _OPEN and travels(value) else _plain_or_kept(value)
    return value


def _plain_or_kept(value: Any) -> Any:
    """A container that only packs understand: as it is, in this process, unless models are in it."""
    if not isinstance(value, (dict, list, tuple)):
        return value
    return tagged(value) if has_opaque(value) and travels(value) else Kept(value)


def _with_sides(value: torch.Tensor, kind: str) -> torch.Tensor:
    """Packs leave out the batch of a single picture, or give a mask a channel; ComfyUI's nodes put up with that."""
    if kind == "IMAGE" and value.ndim == 3:
        return value.unsqueeze(0)
    if kind == "MASK" and value.ndim == 2:
        return value.unsqueeze(0)
    if kind == "MASK" and value.ndim == 4 and 1 in (value.shape[1], value.shape[-1]):
        return value.squeeze(1 if value.shape[1] == 1 else -1)
    return value


def _shown(ui: Any) -> dict[str, list[Any]] | None:
    if hasattr(ui, "as_dict"):
        ui = ui.as_dict()
    if not isinstance(ui, Mapping):
        return None
    return {str(name): _listed(value) for name, value in ui.items()}


def _listed(value: Any) -> list[Any]:
    items = value if isinstance(value, (list, tuple, set, str)) else [value]
    found = json_plain(list(items), repr)
    assert isinstance(found, list)
    return found


def json_plain(value: Any, odd: Callable[[Any], Any], depth: int = 0) -> Any:
    """JSON of our own making: texts of subclasses as plain texts, numbers of numpy and torch as numbers.

    `odd` says what becomes of anything else; numbers that are none (NaN, infinity) become null.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value == value and abs(value) != float("inf") else None
    if depth < _NESTING and isinstance(value, Mapping):
        return {_key(key): json_plain(item, odd, depth + 1) for key, item in value.items()}
    if depth < _NESTING and isinstance(value, (list, tuple, set, frozenset)):
        return [json_plain(item, odd, depth + 1) for item in value]
    if callable(getattr(value, "item", None)) and getattr(value, "size", 0) == 1:
        return json_plain(value.item(), odd, depth + 1)
    found = odd(value)
    return found if found is None else json.loads(json.dumps(found))


def _key(key: Any) -> str:
    return str.__str__(key) if isinstance(key, str) else str(key)
