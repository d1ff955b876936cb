"""Validation of a whole prompt, word for word as ComfyUI 0.3.64; every problem at once, without recursion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.check import Checked, Edge, NodeCheck
from orchestrator.graph.kinds import Json, Lists
from orchestrator.graph.problems import Problem, error_body
from orchestrator.graph.prompt import Graph
from orchestrator.graph.unserved import unserved

MAX_PROBLEMS = 1000
"""Problems told of one prompt; so many that nobody reads on, so few that an answer stays small."""

MAX_DEPENDENT_OUTPUTS = 100
"""Output nodes named per faulty node."""


@dataclass(frozen=True)
class Validation:
    """`graph` has converted literals; `error` is None if at least one of `outputs` can run."""

    graph: Graph
    outputs: tuple[str, ...] = ()
    node_errors: Mapping[str, Json] = field(default_factory=dict)
    error: Mapping[str, Json] | None = None
    checked: tuple[str, ...] = ()  # nodes that the outputs need

    @property
    def ok(self) -> bool:
        """The prompt may be queued."""
        return self.error is None

    def body(self) -> dict[str, Json]:
        """ComfyUI's JSON answer to a refused prompt."""
        return {"error": dict(self.error or {}), "node_errors": dict(self.node_errors)}


NO_PROMPT: Mapping[str, Json] = MappingProxyType(
    {"error": error_body("no_prompt", "No prompt provided", "No prompt provided"), "node_errors": {}}
)
"""The answer to a request without a prompt."""


def validate(
    graph: Graph,
    catalogue: Catalogue,
    lists: Lists,
    targets: Collection[str] | None = None,
    custom: Mapping[str, Sequence[Problem]] = MappingProxyType({}),
) -> Validation:
    """`targets`: only these output nodes count (None: all); `custom`: what classes said themselves, by node.

    Linear in the size of the prompt; raises nothing.
    """
    for node in graph.nodes.values():
        if node.class_type is None:
            message = "Cannot execute because a node is missing the class_type property."
            return Validation(graph, error=error_body("invalid_prompt", message, f"Node ID '#{node.id}'"))
        if node.class_type not in catalogue:
            message = f"Cannot execute because node {node.class_type} does not exist."
            error = error_body("invalid_prompt", message, f"Node ID '#{node.id}'")
            if (known := unserved().get(node.class_type)) is not None:
                error["extra_info"] = {"not_served": known.kind, "reason": known.reason}
            return Validation(graph, error=error)
    wanted = None if targets is None else frozenset(targets)
    outputs = [
        node.id
        for node in graph.nodes.values()
        if catalogue[str(node.class_type)].output_node and (wanted is None or node.id in wanted)
    ]
    if not outputs:
        return Validation(graph, error=error_body("prompt_no_outputs", "Prompt has no outputs", ""))
    walk = _Walk(graph, NodeCheck(graph, catalogue, lists, custom))
    for output in outputs:
        walk.visit(output)
    return _verdict(graph, outputs, walk)


class _Walk:
    """Depth first from the outputs; remembers for each node what was found and whether all below it is well."""

    def __init__(self, graph: Graph, check: NodeCheck) -> None:
        self._nodes = graph.nodes
        self._check = check
        self._open: set[str] = set()
        self._faulty: set[str] = set()
        self._budget = MAX_PROBLEMS
        self.checked: dict[str, Checked] = {}
        self.valid: dict[str, bool] = {}  # in post-order: a node after all it depends on

    def visit(self, output: str) -> None:
        if output in self.valid:
            return
        stack: list[tuple[str, Iterator[Edge]]] = [self._enter(output, None)]
        while stack:
            node_id, edges = stack[-1]
            edge = next(edges, None)
            if edge is None:
                stack.pop()
                self._leave(node_id)
            elif edge.ref.node_id not in self.valid and edge.ref.node_id not in self._open:
                stack.append(self._enter(edge.ref.node_id, edge))

    def _enter(self, node_id: str, by: Edge | None) -> tuple[str, Iterator[Edge]]:
        self._open.add(node_id)
        found = self.checked[node_id] = self._check.check(self._nodes[node_id])
        if found.broken is not None:
            reached: list[Json] = [by.ref.node_id, by.ref.slot] if by else []
            told = found.broken.as_inner(by.name, by.config, reached) if by else found.broken.as_output()
            found.problems.insert(0, told)
        if found.problems:
            self._faulty.add(node_id)
            del found.problems[self._budget :]
            self._budget -= len(found.problems)
        return node_id, iter(found.edges)

    def _leave(self, node_id: str) -> None:
        found = self.checked[node_id]
        # A source that is still open is one of this node's own consumers: a cycle, which ComfyUI refuses wordlessly.
        below = all(self.valid.get(edge.ref.node_id, False) for edge in found.edges)
        self.valid[node_id] = below and node_id not in self._faulty
        self._open.discard(node_id)


def _verdict(graph: Graph, outputs: list[str], walk: _Walk) -> Validation:
    changed = {
        node_id: graph.nodes[node_id].with_inputs(found.inputs)
        for node_id, found in walk.checked.items()
        if graph.nodes[node_id].inputs is not None
    }
    converted = graph.with_nodes(changed)
    good = tuple(output for output in outputs if walk.valid[output])
    bad = [output for output in outputs if not walk.valid[output]]
    node_errors = _node_errors(graph, bad, walk)
    if good:
        return Validation(converted, good, node_errors, checked=tuple(walk.valid))
    own = [problem for output in bad for problem in walk.checked[output].problems]
    details = "\n".join(f"{problem.message}: {problem.details}" for problem in own)
    error = error_body("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
    return Validation(converted, (), node_errors, error, tuple(walk.valid))


def _node_errors(graph: Graph, bad: list[str], walk: _Walk) -> dict[str, Json]:
    dependents = _dependents(bad, walk)
    errors: dict[str, Json] = {}
    for node_id in walk.valid:
        found: list[Problem] = walk.checked[node_id].problems
        if found and dependents[node_id]:
            errors[node_id] = {
                "errors": [problem.as_json() for problem in found],
                "dependent_outputs": [bad[index] for index in _bits(dependents[node_id])],
                "class_type": graph.nodes[node_id].class_type,
            }
    return errors


def _dependents(bad: list[str], walk: _Walk) -> dict[str, int]:
    """For each node the set of bad outputs that need it, as bits; consumers come before their sources."""
    reach = dict.fromkeys(walk.valid, 0)
    for index, output in enumerate(bad):
        reach[output] |= 1 << index
    for node_id in reversed(walk.valid):
        for edge in walk.checked[node_id].edges:
            reach[edge.ref.node_id] |= reach[node_id]
    return reach


def _bits(mask: int) -> list[int]:
    found: list[int] = []
    while mask and len(found) < MAX_DEPENDENT_OUTPUTS:
        lowest = mask & -mask
        found.append(lowest.bit_length() - 1)
        mask ^= lowest
    return found
