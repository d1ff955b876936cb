"""Validation that node classes of other processes do by themselves, before a prompt is accepted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from kit.errors import TooSlow
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Json
from orchestrator.graph.problems import Problem, custom_failed
from orchestrator.graph.prompt import Graph, Literal, Node, Ref
from orchestrator.graph.spec import CustomCheck
from orchestrator.graph.validate import Validation

_AT_ONCE = 16
_TOGETHER_S = 60.0


class NodeSource(Protocol):
    """Where node classes come from; what they are may change while the front runs."""

    def catalogue(self) -> Catalogue:
        """As of now."""

    async def refusal(self, node_type: str, inputs: Mapping[str, Json], input_types: Mapping[str, str]) -> str | None:
        """What the class itself has against these literals and types of links ("": no reason); None: nothing.

        Raises Unready, TooSlow.
        """


async def own_problems(found: Validation, catalogue: Catalogue, nodes: NodeSource) -> Mapping[str, Sequence[Problem]]:
    """By node, for all classes of the prompt that check themselves. Raises Unready, TooSlow."""
    checks = {
        node_id: spec.custom
        for node_id in found.checked
        if (spec := catalogue[str(found.graph.nodes[node_id].class_type)]).custom is not None
        and found.graph.nodes[node_id].inputs is not None
    }
    slots = asyncio.Semaphore(_AT_ONCE)

    async def check(node: Node, custom: CustomCheck) -> list[Problem]:
        inputs = _literals(node, custom, catalogue)
        types = _types(node, found.graph, catalogue) if custom.input_types else {}
        async with slots:
            refusal = await nodes.refusal(str(node.class_type), inputs, types)
        if refusal is None:
            return []
        looked_at = [name for name in node.inputs or {} if custom.takes(name)] or ["inputs"]
        return [custom_failed(name, refusal) for name in looked_at]

    tasks = {
        node_id: asyncio.create_task(check(found.graph.nodes[node_id], custom))
        for node_id, custom in checks.items()
        if custom is not None
    }
    try:
        async with asyncio.timeout(_TOGETHER_S):
            told = await asyncio.gather(*tasks.values())
    except TimeoutError:
        raise TooSlow("the nodes' own validation took too long", reason="VALIDATION_DEADLINE") from None
    finally:
        for task in tasks.values():
            task.cancel()
    return {node_id: problems for node_id, problems in zip(tasks, told) if problems}


def _literals(node: Node, custom: CustomCheck, catalogue: Catalogue) -> dict[str, Json]:
    spec = catalogue[str(node.class_type)]
    return {
        name: value.value
        for name, value in (node.inputs or {}).items()
        if isinstance(value, Literal) and custom.takes(name) and spec.input(name) is not None
    }


def _types(node: Node, graph: Graph, catalogue: Catalogue) -> dict[str, str]:
    """Of linked inputs."""
    types: dict[str, str] = {}
    for name, value in (node.inputs or {}).items():
        source = graph.nodes.get(value.node_id) if isinstance(value, Ref) else None
        if isinstance(value, Ref) and source is not None:
            outputs = catalogue[str(source.class_type)].outputs
            if 0 <= value.slot < len(outputs):
                types[name] = outputs[value.slot].type
    return types
