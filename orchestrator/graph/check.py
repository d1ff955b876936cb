"""Checks one node's inputs against its spec and converts its literals; knows nothing of other nodes' problems."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.graph import problems
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Bool, Float, InputFile, Int, Json, Kind, Lists, Numeric, OneOf, Text
from orchestrator.graph.object_info import input_config
from orchestrator.graph.problems import BrokenLink, Problem
from orchestrator.graph.prompt import Graph, Literal, Malformed, Node, Ref, Value
from orchestrator.graph.spec import Input, NodeSpec


@dataclass(frozen=True)
class Edge:
    """A link that is followed: input `name` of the checked node takes `ref`."""

    name: str
    config: Json
    ref: Ref


@dataclass
class Checked:
    """Findings about one node; `broken` is what ComfyUI reports instead of looking further."""

    problems: list[Problem] = field(default_factory=list)
    broken: BrokenLink | None = None
    edges: list[Edge] = field(default_factory=list)
    inputs: dict[str, Value] = field(default_factory=dict)


class NodeCheck:
    """Checks nodes of one graph; combo choices are fetched once per graph."""

    def __init__(
        self, graph: Graph, catalogue: Catalogue, lists: Lists, custom: Mapping[str, Sequence[Problem]]
    ) -> None:
        self._nodes = graph.nodes
        self._catalogue = catalogue
        self._lists = lists
        self._custom = custom
        self._choices: dict[int, tuple[Kind, list[Json], frozenset[object]]] = {}

    def check(self, node: Node) -> Checked:
        """The node's own problems, its followed links and its inputs with literals converted."""
        found = Checked()
        if node.inputs is None:
            found.broken = _no_inputs(node)
            return found
        found.inputs = dict(node.inputs)
        spec = self._catalogue[str(node.class_type)]
        for item in spec.inputs:
            if item.name in node.inputs:
                self._declared(found, spec, item, node.inputs[item.name])
            elif item.required:
                found.problems.append(problems.missing_input(item.name))
        for name, value in node.inputs.items():
            if isinstance(value, Ref) and spec.input(name) is None and self._output_type(found, value) is not None:
                found.edges.append(Edge(name, None, self._resolved(found, name, value)))
        found.problems += self._custom.get(node.id, ())
        return found

    def _declared(self, found: Checked, spec: NodeSpec, item: Input, value: Value) -> None:
        if isinstance(value, Literal):
            self._literal(found, spec, item, value.value)
            return
        if isinstance(value, Malformed):
            if len(value.value) != 2:
                config = input_config(item.kind, spec.v3, self._lists)
                found.problems.append(problems.bad_link(item.name, config, value.value))
            else:
                found.broken = found.broken or self._odd_link(value.value)
            return
        received = self._output_type(found, value)
        if received is None:
            return
        config = input_config(item.kind, spec.v3, self._lists)
        unchecked = item.any_type or (spec.custom is not None and spec.custom.input_types)
        if not unchecked and not _fits(received, item.kind.wire_type if isinstance(config[0], str) else None):
            linked: list[Json] = [value.node_id, value.slot]
            found.problems.append(problems.type_mismatch(item.name, config, received, linked))
            return
        found.edges.append(Edge(item.name, config, self._resolved(found, item.name, value)))

    def _output_type(self, found: Checked, ref: Ref) -> str | None:
        """Type of the linked output; None and `broken` set if there is none."""
        source = self._nodes.get(ref.node_id)
        if source is None:
            found.broken = found.broken or BrokenLink("KeyError", repr(ref.node_id))
            return None
        outputs = self._catalogue[str(source.class_type)].outputs
        if not -len(outputs) <= ref.slot < len(outputs):
            found.broken = found.broken or BrokenLink("IndexError", "tuple index out of range")
            return None
        return "*" if outputs[ref.slot].any_type else outputs[ref.slot].type

    def _resolved(self, found: Checked, name: str, ref: Ref) -> Ref:
        """Slots count from the end if negative, as ComfyUI takes them; from here on they do not."""
        if ref.slot < 0:
            source = self._catalogue[str(self._nodes[ref.node_id].class_type)]
            ref = Ref(ref.node_id, ref.slot + len(source.outputs))
        found.inputs[name] = ref
        return ref

    def _odd_link(self, link: list[Json]) -> BrokenLink:
        """A pair whose parts have the wrong types, told as Python would."""
        source, slot = link
        if isinstance(source, (list, dict)):
            return BrokenLink("TypeError", f"unhashable type: '{type(source).__name__}'")
        if not isinstance(source, str) or source not in self._nodes:
            return BrokenLink("KeyError", repr(source))
        return BrokenLink("TypeError", f"tuple indices must be integers or slices, not {type(slot).__name__}")

    def _literal(self, found: Checked, spec: NodeSpec, item: Input, value: Json) -> None:
        kind = item.kind
        try:
            converted = convert(kind, value)
        except (ValueError, TypeError, OverflowError) as error:
            config = input_config(kind, spec.v3, self._lists)
            found.problems.append(problems.not_convertible(item.name, config, kind.wire_type, value, str(error)))
            return
        found.inputs[item.name] = Literal(converted)
        if spec.custom is not None and spec.custom.takes(item.name):
            return
        if problem := self._limits(spec, item, converted):
            found.problems.append(problem)

    def _limits(self, spec: NodeSpec, item: Input, value: Json) -> Problem | None:
        kind, name = item.kind, item.name
        if isinstance(kind, Numeric) and isinstance(value, (int, float)):
            if kind.min is not None and value < kind.min:
                return problems.too_small(name, input_config(kind, spec.v3, self._lists), value, kind.min)
            if kind.max is not None and value > kind.max:
                return problems.too_big(name, input_config(kind, spec.v3, self._lists), value, kind.max)
        if isinstance(kind, OneOf):
            choices, known = self._choices_of(kind)
            fits = value in known if _hashable(value) else value in choices
            if not fits and not (kind.uploads and isinstance(value, str) and self._lists.input_exists(value)):
                return problems.not_in_list(name, input_config(kind, spec.v3, self._lists), value, choices)
        if isinstance(kind, InputFile) and not (isinstance(value, str) and self._lists.input_exists(value)):
            return problems.invalid_file(name, kind.content, value)
        return None

    def _choices_of(self, kind: OneOf) -> tuple[list[Json], frozenset[object]]:
        cached = self._choices.get(id(kind))
        if cached is None:
            choices = kind.choices(self._lists)
            cached = (kind, choices, frozenset(choice for choice in choices if _hashable(choice)))
            self._choices[id(kind)] = cached
        return cached[1], cached[2]


def convert(kind: Kind, value: Json) -> Json:
    """The literal as its kind's Python type, by Python's own rules ("24" and 24.7 are INT, "false" is true).

    Raises ValueError, TypeError or OverflowError with Python's text; NaN and infinities are refused.
    """
    if isinstance(kind, Int):
        return int(value)  # type: ignore[arg-type]  # a wrong type's TypeError is the answer
    if isinstance(kind, Float):
        number = float(value)  # type: ignore[arg-type]  # as above
        if not math.isfinite(number):
            raise ValueError(f"not a finite number: {value!r}")
        return number
    if isinstance(kind, Text):
        return str(value)
    if isinstance(kind, Bool):
        return bool(value)
    return value


def _fits(received: str, expected: str | None) -> bool:
    """Equal types, overlapping unions, or "*"; `expected` None: an older node's combo, which takes no link."""
    if expected is None:
        return False
    if received == expected or "*" in (received, expected):
        return True
    return not {part.strip() for part in received.split(",")}.isdisjoint(part.strip() for part in expected.split(","))


def _hashable(value: object) -> bool:
    return not isinstance(value, (list, dict))


def _no_inputs(node: Node) -> BrokenLink:
    if "inputs" not in node.raw:
        return BrokenLink("KeyError", "'inputs'")
    given = node.raw["inputs"]
    return BrokenLink("TypeError", f"inputs must be an object, not {type(given).__name__}")
