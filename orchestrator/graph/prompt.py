"""ComfyUI's API-format prompt (JSON bytes) -> frozen Graph, within bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from kit.errors import InvalidPrompt
from orchestrator.graph.kinds import Json

_WRAPPER = "__value__"


@dataclass(frozen=True)
class Bounds:
    """What a prompt may be at most; `depth` counts nested objects and arrays."""

    max_bytes: int = 32 * 1024 * 1024
    max_nodes: int = 5000
    max_depth: int = 100


@dataclass(frozen=True)
class Ref:
    """A link: output `slot` of another node."""

    node_id: str
    slot: int


@dataclass(frozen=True)
class Literal:
    """A value written in the prompt; a list or object only if it came wrapped in `__value__`, or as an object."""

    value: Json


@dataclass(frozen=True)
class Malformed:
    """A list that is no link ([node id text, whole slot number]) and not wrapped either."""

    value: list[Json]


Value = Ref | Literal | Malformed


@dataclass(frozen=True)
class Node:
    """One node. `inputs` is None if the prompt has no `inputs` object; `raw` is the node as submitted, but for them."""

    id: str
    class_type: str | None
    inputs: Mapping[str, Value] | None
    raw: Mapping[str, Json]

    def refs(self) -> Iterator[tuple[str, Ref]]:
        """Linked inputs in the prompt's order."""
        return ((name, value) for name, value in (self.inputs or {}).items() if isinstance(value, Ref))

    def with_inputs(self, inputs: Mapping[str, Value]) -> Node:
        """The same node with other inputs."""
        return replace(self, inputs=MappingProxyType(dict(inputs)))

    def as_json(self) -> dict[str, Json]:
        """As submitted, `inputs` as they are now, key order kept."""
        if self.inputs is None:
            return dict(self.raw)
        return {**self.raw, "inputs": {name: _unparsed(value) for name, value in self.inputs.items()}}


@dataclass(frozen=True)
class Graph:
    """Nodes by id, in the prompt's order."""

    nodes: Mapping[str, Node]

    def with_nodes(self, changed: Mapping[str, Node]) -> Graph:
        """The same graph with some nodes replaced."""
        return Graph(MappingProxyType({**self.nodes, **changed}))

    def with_input(self, node_id: str, name: str, value: Json) -> Graph:
        """The same graph with one literal input set. Raises KeyError for an unknown node."""
        node = self.nodes[node_id]
        return self.with_nodes({node_id: node.with_inputs({**(node.inputs or {}), name: Literal(value)})})

    def as_json(self) -> dict[str, Json]:
        """API format again; `parse` of it gives an equal graph."""
        return {node_id: node.as_json() for node_id, node in self.nodes.items()}

    def canonical(self) -> bytes:
        """One spelling for equal prompts: sorted keys, no spaces, ASCII."""
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":")).encode("ascii")


class _Duplicate(ValueError):
    pass


def parse(text: bytes | str, bounds: Bounds | None = None) -> Graph:
    """Raises InvalidPrompt: PROMPT_TOO_BIG, MALFORMED_PROMPT (no JSON object, duplicate keys, nested too deeply).

    NaN and infinities, which are not JSON, are read as null. Node contents are not judged here.
    """
    bounds = bounds or Bounds()
    if len(text) > bounds.max_bytes:
        raise _refused("Prompt is too big", "PROMPT_TOO_BIG", size=len(text), max_bytes=bounds.max_bytes)
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=lambda _: None, parse_float=_finite)
    except _Duplicate as error:
        raise _refused("Prompt has a key twice", "MALFORMED_PROMPT", key=str(error)[:200]) from None
    except (ValueError, RecursionError) as error:  # also UnicodeDecodeError, JSONDecodeError
        raise InvalidPrompt("prompt is not JSON", reason="MALFORMED_PROMPT", problem=type(error).__name__) from None
    return from_json(data, bounds)


def from_json(data: object, bounds: Bounds | None = None) -> Graph:
    """Like `parse`, from decoded JSON. Raises InvalidPrompt."""
    bounds = bounds or Bounds()
    if not isinstance(data, dict):
        raise InvalidPrompt("prompt is not a JSON object", reason="MALFORMED_PROMPT", type=type(data).__name__)
    if len(data) > bounds.max_nodes:
        raise _refused("Prompt has too many nodes", "PROMPT_TOO_BIG", nodes=len(data), max_nodes=bounds.max_nodes)
    if _deeper_than(data, bounds.max_depth):
        raise _refused("Prompt is nested too deeply", "PROMPT_TOO_BIG", max_depth=bounds.max_depth)
    return Graph(MappingProxyType({node_id: _node(node_id, item) for node_id, item in data.items()}))


def _refused(message: str, reason: str, **facts: object) -> InvalidPrompt:
    details = ", ".join(f"{name}: {value}" for name, value in facts.items())
    error = {"type": "invalid_prompt", "message": message, "details": details, "extra_info": {}}
    return InvalidPrompt(message, reason=reason, body={"error": error, "node_errors": {}}, **facts)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Duplicate(key)
            seen.add(key)
    return made


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _deeper_than(data: object, limit: int) -> bool:
    """Breadth first, a level at a time, so that depth costs no stack."""
    level: list[object] = [data]
    for _ in range(limit + 1):
        level = [
            part
            for value in level
            for part in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
            if isinstance(part, (dict, list))
        ]
        if not level:
            return False
    return True


def _node(node_id: str, item: object) -> Node:
    raw: dict[str, Json] = item if isinstance(item, dict) else {}
    class_type: Any = raw.get("class_type")
    inputs = raw.get("inputs")
    parsed = {name: _value(value) for name, value in inputs.items()} if isinstance(inputs, dict) else None
    named = class_type if isinstance(class_type, str) or "class_type" not in raw else json.dumps(class_type)
    if parsed is None:
        return Node(node_id, named, None, MappingProxyType(raw))
    # `inputs` keeps its place among the keys; its content is kept once.
    return Node(node_id, named, MappingProxyType(parsed), MappingProxyType({**raw, "inputs": None}))


def _value(value: Json) -> Value:
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
            return Ref(value[0], int(value[1]))
        return Malformed(value)
    if isinstance(value, dict) and _WRAPPER in value:
        return Literal(value[_WRAPPER])
    return Literal(value)


def _unparsed(value: Value) -> Json:
    if isinstance(value, Ref):
        return [value.node_id, value.slot]
    if isinstance(value, Malformed):
        return value.value
    content = value.value
    # A bare list would be read as a link, and an object with the wrapper's key would be unwrapped once more.
    ambiguous = isinstance(content, list) or (isinstance(content, dict) and _WRAPPER in content)
    return {_WRAPPER: content} if ambiguous else content
