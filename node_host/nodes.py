"""What an author of nodes writes: declarations, results, graphs that take a node's place."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kit.node_values import NodeLink

Schedule = Literal["cpu", "accelerator", "async"]
Function = Callable[..., Any]


class Cancelled(Exception):
    """The run was stopped, or the node's time is over."""


@dataclass(frozen=True)
class ProvidedNode:
    """A node class: `info` is its object_info (see `describe`), `function(call, **inputs)` its code.

    The function returns a tuple with one value per output, a Result or an Expansion; plain functions run in a thread,
    coroutine functions on the event loop. Arrays are numpy's. A value of any other kind stays in this process, and
    nodes of this provider get it back. `lazy(call, **inputs)` names the lazy inputs that are needed (None: has not
    run); `fingerprint(**literals)` answers anything, NaN or None: never equal; `validate` takes the inputs that it
    names (all with **kwargs; types of links as `input_types`) and answers True, or what is wrong.
    """

    class_type: str
    function: Function
    info: Mapping[str, Any]
    version: str = "1"
    schedule: Schedule = "cpu"
    input_is_list: bool = False
    extra_inputs: bool = False
    expands: bool = False
    idempotent: bool = True
    lazy: Function | None = None
    fingerprint: Function | None = None
    validate: Function | None = None
    any_type_inputs: tuple[str, ...] = ()
    any_type_outputs: tuple[int, ...] = ()


def describe(
    inputs: Mapping[str, Mapping[str, Any]] | None = None,
    outputs: Sequence[tuple[str, str]] = (),
    *,
    category: str,
    display_name: str | None = None,
    description: str = "",
    output_node: bool = False,
    list_outputs: Sequence[int] = (),
) -> dict[str, Any]:
    """object_info of a class; `inputs` as ComfyUI has them: {"required": {"image": ["IMAGE"], ...}, ...}."""
    return {
        "input": {"required": {}, **(inputs or {})},
        "output": [kind for kind, _ in outputs],
        "output_name": [name for _, name in outputs],
        "output_is_list": [index in list_outputs for index in range(len(outputs))],
        "category": category,
        "display_name": display_name,
        "description": description,
        "python_module": "node_provider",
        "output_node": output_node,
    }


@dataclass(frozen=True)
class Preview:
    """An encoded picture of work in progress; `media_type` image/jpeg or image/png."""

    media_type: str
    image: bytes


class Call:
    """One call of a node."""

    def __init__(
        self, run_id: str, node_id: str, id_prefix: str, report: Callable[[float, float, Preview | None], None]
    ) -> None:
        self.run_id = run_id
        self.node_id = node_id
        self.id_prefix = id_prefix
        self._report = report
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Nobody wants the result any more."""
        return self._cancelled.is_set()

    def check_cancelled(self) -> None:
        """Raises Cancelled; call it in every round of a loop."""
        if self.cancelled:
            raise Cancelled

    def progress(self, value: float, maximum: float, preview: Preview | None = None) -> None:
        """From any thread. Raises Cancelled."""
        self.check_cancelled()
        self._report(value, maximum, preview)

    def cancel(self) -> None:
        """Asks the node to stop."""
        self._cancelled.set()

    def graph(self) -> Graph:
        """An empty graph that may take this node's place."""
        return Graph(self.id_prefix)


@dataclass(frozen=True)
class Result:
    """`outputs`: one per output; `ui`: {"text": ["..."]} or the like, for clients."""

    outputs: tuple[Any, ...] = ()
    ui: Mapping[str, list[Any]] | None = None


@dataclass
class GraphNode:
    """A node of a graph."""

    id: str
    class_type: str
    inputs: dict[str, Any]
    display_id: str = ""

    def out(self, slot: int) -> NodeLink:
        """Its output, as an input of another node or as a result."""
        return NodeLink(self.id, slot)


@dataclass
class Graph:
    """Nodes that take another's place; inputs are links, values and what came in."""

    prefix: str
    nodes: list[GraphNode] = field(default_factory=list)

    def node(self, class_type: str, /, **inputs: Any) -> GraphNode:
        """Adds a node."""
        made = GraphNode(f"{self.prefix}0.{len(self.nodes)}", class_type, inputs)
        self.nodes.append(made)
        return made


@dataclass(frozen=True)
class Expansion:
    """The graph's nodes run instead; `outputs` are values or links into it."""

    graph: Graph
    outputs: tuple[Any, ...] = ()
    ui: Mapping[str, list[Any]] | None = None


def taken_by(function: Function) -> tuple[tuple[str, ...], bool]:
    """(names of the parameters, whether it takes any other by **kwargs)."""
    parameters = inspect.signature(function).parameters.values()
    named = tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def call_with(function: Function, given: Mapping[str, Any]) -> Any:
    """Calls it with those of the inputs that it takes; what it needs and nobody gave is None, as in ComfyUI."""
    parameters = inspect.signature(function).parameters
    named, anything = taken_by(function)
    needed = {name: None for name in named if parameters[name].default is inspect.Parameter.empty}
    taken = {name: value for name, value in given.items() if anything or name in named}
    return function(**{**needed, **taken})


def as_fingerprint(value: Any) -> str | None:
    """Text of what a fingerprint function answered; None: equal to nothing."""
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, default=repr)
