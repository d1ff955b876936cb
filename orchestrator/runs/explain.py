"""What a workflow would do here, before it runs: what is missing, what is likely cached, roughly how long it takes."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import InputFile, Json, Lists, OneOf
from orchestrator.graph.prompt import Graph, Literal, Node, Ref
from orchestrator.graph.validate import Validation
from orchestrator.runs.measured import Measured

MAX_MISSING = 100
"""Missing things that are told; who misses more will ask again."""
_NEAREST = 3
_CUTOFF = 0.5


@dataclass(frozen=True)
class MissingNode:
    """A node of a class that is not here, with the classes whose names are nearest."""

    node_id: str
    class_type: str
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class MissingFile:
    """A file that an input names and that is not here; `folder`: where it belongs ("checkpoints", "input" ...)."""

    node_id: str
    input: str
    folder: str
    name: str
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """`refusal` is ComfyUI's answer if the prompt would be refused; `runs` in an order in which nodes can run.

    `recent` are those of `runs` whose results a worker probably still has. `seconds` is for the others, as far as their
    classes were seen here; `unmeasured` are those that were not.
    """

    graph: Graph
    refusal: Mapping[str, Json] | None
    missing_nodes: tuple[MissingNode, ...]
    missing_files: tuple[MissingFile, ...]
    runs: tuple[str, ...]
    recent: tuple[str, ...]
    seconds: float
    unmeasured: tuple[str, ...]


def explain(graph: Graph, found: Validation, catalogue: Catalogue, lists: Lists, measured: Measured) -> Explanation:
    """Of a validated prompt. Reads nothing but what it is given."""
    outputs = found.outputs or tuple(
        node.id for node in graph.nodes.values() if (spec := catalogue.get(node.class_type or "")) and spec.output_node
    )
    runs = tuple(_sources_first(found.graph, outputs))
    keys = likenesses(found.graph)
    recent = tuple(node_id for node_id in runs if measured.is_recent(keys[node_id]))
    seconds = 0.0
    unmeasured: dict[str, None] = {}
    for node_id in runs:
        node = found.graph.nodes[node_id]
        if node_id in recent:
            continue
        expected = measured.seconds(str(node.class_type), _literals(node))
        if expected is None:
            unmeasured[str(node.class_type)] = None
        else:
            seconds += expected
    return Explanation(
        found.graph, None if found.ok else found.body(), tuple(_missing_nodes(graph, catalogue)),
        tuple(_missing_files(graph, catalogue, lists)), runs, recent, seconds, tuple(unmeasured),
    )  # fmt: skip


def model_files(graph: Graph, catalogue: Catalogue) -> set[tuple[str, str]]:
    """(folder, name) of every model file that the workflow names."""
    found: set[tuple[str, str]] = set()
    for node in graph.nodes.values():
        spec = catalogue.get(node.class_type or "")
        for item in spec.inputs if spec is not None else ():
            value = (node.inputs or {}).get(item.name)
            if isinstance(item.kind, OneOf) and item.kind.folder and isinstance(value, Literal):
                found.add((item.kind.folder, str(value.value)))
    return found


def likenesses(graph: Graph) -> dict[str, str]:
    """A key of each node that is equal for equal nodes with equal sources; files count by name only."""
    keys: dict[str, str] = {}
    for node_id in _sources_first(graph, graph.nodes):
        node = graph.nodes[node_id]
        parts: list[object] = [node.class_type]
        for name, value in sorted((node.inputs or {}).items()):
            match value:
                case Ref(source, slot):
                    parts.append([name, keys.get(source, source), slot])
                case _:
                    parts.append([name, value.value])
        text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
        keys[node_id] = hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()
    return keys


def _missing_nodes(graph: Graph, catalogue: Catalogue) -> Iterator[MissingNode]:
    told = 0
    for node in graph.nodes.values():
        if node.class_type not in catalogue and told < MAX_MISSING:
            told += 1
            name = str(node.class_type or "")
            yield MissingNode(node.id, name, _nearest(name, list(catalogue)))


def _missing_files(graph: Graph, catalogue: Catalogue, lists: Lists) -> Iterator[MissingFile]:
    told = 0
    for node in graph.nodes.values():
        spec = catalogue.get(node.class_type or "")
        for item in spec.inputs if spec is not None else ():
            value = (node.inputs or {}).get(item.name)
            if not isinstance(value, Literal) or told >= MAX_MISSING:
                continue
            missing = _missing_file(node.id, item.name, item.kind, value.value, lists)
            if missing is not None:
                told += 1
                yield missing


def _missing_file(node_id: str, name: str, kind: object, value: Json, lists: Lists) -> MissingFile | None:
    if isinstance(kind, OneOf) and kind.folder:
        choices = [str(choice) for choice in kind.choices(lists)]
        if value not in choices:
            return MissingFile(node_id, name, kind.folder, str(value), _nearest(str(value), choices))
    if isinstance(kind, InputFile) and not (isinstance(value, str) and lists.input_exists(value)):
        choices = [str(choice) for choice in kind.choices(lists)]
        return MissingFile(node_id, name, "input", str(value), _nearest(str(value), choices))
    return None


def _nearest(name: str, known: Sequence[str]) -> tuple[str, ...]:
    lowered = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower()[:200], lowered, n=_NEAREST, cutoff=_CUTOFF)
    return tuple(lowered[near] for near in found)


def _literals(node: Node) -> dict[str, object]:
    return {name: value.value for name, value in (node.inputs or {}).items() if isinstance(value, Literal)}


def _sources_first(graph: Graph, roots: Sequence[str] | Mapping[str, Node]) -> Iterator[str]:
    """Every node that the roots need, after those it is linked to (where that is possible), without recursion."""
    seen: set[str] = set()
    for root in roots:
        if root in seen or root not in graph.nodes:
            continue
        seen.add(root)
        stack = [(root, graph.nodes[root].refs())]
        while stack:
            node_id, refs = stack[-1]
            following = next(refs, None)
            if following is None:
                stack.pop()
                yield node_id
            elif following[1].node_id not in seen and following[1].node_id in graph.nodes:
                seen.add(following[1].node_id)
                stack.append((following[1].node_id, graph.nodes[following[1].node_id].refs()))
