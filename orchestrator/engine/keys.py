"""Content-addressed cache keys: equal keys, equal results, whatever the nodes are called."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping

from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Graph, Literal, Malformed, Node, Ref


def node_keys(
    graph: Graph,
    impls: Mapping[str, NodeImpl],
    fingerprints: Mapping[str, str | None],
    salt: str,
    known: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Key (64 hex digits) of every node of the graph that has one; `known`: keys of nodes outside that it links to.

    In it: class, its version, canonical inputs (undeclared ones too), fingerprint, keys of linked outputs, and `salt`
    (engine and graph versions). Not in it: node id (unless the class sees it), `_meta`. A node whose fingerprint is
    None, or that was expanded with a literal that is no JSON (a tensor), gets a key that never occurs again. No key:
    unknown class, links to nowhere or in a circle, or a class with a fingerprint that is missing in `fingerprints`;
    all that depends on such a node has none either.
    """
    keys: dict[str, str] = dict(known or {})
    for node in _sources_first(graph):
        impl = impls.get(str(node.class_type))
        sources = {ref.node_id for _, ref in node.refs()}
        whole = impl is not None and node.inputs is not None and all(source in keys for source in sources)
        if impl is None or not whole or (impl.fingerprint is not None and node.id not in fingerprints):
            continue
        keys[node.id] = _key(node, impl, keys, fingerprints, salt)
    return keys


def _key(node: Node, impl: NodeImpl, keys: Mapping[str, str], fingerprints: Mapping[str, str | None], salt: str) -> str:
    spec = impl.spec
    inputs: list[list[object]] = []
    for name, value in sorted((node.inputs or {}).items()):
        match value:
            case Ref(source, slot):
                inputs.append([name, "link", keys[source], slot])
            case Literal(content) | Malformed(content):
                inputs.append([name, "value", content])
    seen_id = node.id if spec.wants("UNIQUE_ID") or spec.wants("DYNPROMPT") or not spec.idempotent else ""
    fingerprint = fingerprints.get(node.id) if impl.fingerprint is not None else ""
    once = uuid.uuid4().hex if fingerprint is None else ""
    parts: list[object] = [salt, spec.id, spec.version, seen_id, fingerprint, once, inputs]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=lambda _: uuid.uuid4().hex)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sources_first(graph: Graph) -> Iterator[Node]:
    """Every node once, after the nodes it is linked to (where that is possible), without recursion."""
    seen: set[str] = set()
    for root in graph.nodes:
        if root in seen:
            continue
        seen.add(root)
        stack = [(graph.nodes[root], graph.nodes[root].refs())]
        while stack:
            node, refs = stack[-1]
            following = next(refs, None)
            if following is None:
                stack.pop()
                yield node
            elif following[1].node_id not in seen and following[1].node_id in graph.nodes:
                source = graph.nodes[following[1].node_id]
                seen.add(source.id)
                stack.append((source, source.refs()))
