"""Graphs that nodes return in their own place, checked before they are taken into a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kit.errors import HeliographError, InvalidRequest, NotFound
from orchestrator.graph.declare import NodeImpl
from orchestrator.graph.prompt import Node, from_json


def children_of(nodes: Mapping[str, object], impls: Mapping[str, NodeImpl]) -> Mapping[str, Node]:
    """Nodes in API format, by id. Raises InvalidPrompt, NotFound (NODE_UNKNOWN) for a class that is not there."""
    children = from_json(dict(nodes)).nodes
    for child in children.values():
        if child.class_type not in impls:
            raise NotFound(
                f"Cannot execute because node {child.class_type} does not exist.", reason="NODE_UNKNOWN",
                node_id=child.id,
            )  # fmt: skip
    return children


def no_key(children: Mapping[str, Node], keyless: Sequence[str], nodes: Mapping[str, Node]) -> HeliographError:
    """Why these children have no cache key: a link to nowhere, or else a circle."""
    for node_id in keyless:
        for name, ref in children[node_id].refs():
            if ref.node_id not in nodes:
                return InvalidRequest(
                    "a node expanded into a link to a node that is not there", reason="EXPANSION_LINKS",
                    node_id=node_id, input=name, linked=ref.node_id,
                )  # fmt: skip
        if children[node_id].inputs is None:
            return InvalidRequest("a node expanded into one without inputs", reason="EXPANSION_NODE", node_id=node_id)
    return circle(keyless)


def circle(node_ids: Sequence[str]) -> HeliographError:
    """Nodes that wait for each other."""
    return InvalidRequest(
        "a node expanded into nodes that wait for each other in a circle", reason="EXPANSION_CYCLE",
        node_ids=", ".join(node_ids[:5]),
    )  # fmt: skip


def refuse_strangers(links: Sequence[str], nodes: Mapping[str, Node]) -> None:
    """Raises InvalidRequest (EXPANSION_LINKS) if a result is said to come from a node that is not there."""
    strangers = [link for link in links if link not in nodes]
    if strangers:
        raise InvalidRequest(
            "a node expanded into results of nodes that are not there", reason="EXPANSION_LINKS",
            node_ids=", ".join(strangers[:5]),
        )  # fmt: skip
