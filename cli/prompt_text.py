"""`--prompt` and `--negative`: the texts of a workflow, found by what its samplers are linked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kit.errors import InvalidRequest

TEXT_NODE, TEXT_INPUT = "CLIPTextEncode", "text"


def with_text(prompt: Mapping[str, Any], role: str, text: str) -> dict[str, Any]:
    """`prompt` with `text` in the text node behind every `role` input ("positive" or "negative") of its samplers.

    Several samplers may share one text node, or have nodes of equal text (hires-fix). Raises InvalidRequest where there
    is no such node or where their texts differ: which of them is meant, only `--set` can say.
    """
    nodes = sorted(set(_text_nodes(prompt, role)))
    texts = {str(prompt[node]["inputs"].get(TEXT_INPUT)) for node in nodes}
    if not nodes:
        raise InvalidRequest(f"no {TEXT_NODE} leads to a {role} input: name the node with --set", role=role)
    if len(texts) > 1:
        raise InvalidRequest(
            f"several texts lead to {role} inputs: choose with --set NODE.{TEXT_INPUT}=...", nodes=" ".join(nodes)
        )
    return {
        key: {**node, "inputs": {**node["inputs"], TEXT_INPUT: text}} if key in nodes else node
        for key, node in prompt.items()
    }


def _text_nodes(prompt: Mapping[str, Any], role: str) -> Iterator[str]:
    """Ids of the text nodes upstream of every `role` input; conditioning nodes in between are passed through."""
    for node_id in prompt:
        start = _inputs(prompt, node_id).get(role)
        todo, seen = [start], set[str]()
        while todo:
            source = _linked(prompt, todo.pop())
            if source is None or source in seen:
                continue
            seen.add(source)
            if prompt[source].get("class_type") == TEXT_NODE:
                yield source
            else:
                todo += _same_role(_inputs(prompt, source), role)


def _same_role(inputs: Mapping[str, Any], role: str) -> list[Any]:
    """Where a node has both roles (ControlNet, inpainting), only its own role leads on; else every link does."""
    return [inputs[role]] if role in inputs else list(inputs.values())


def _inputs(prompt: Mapping[str, Any], node_id: str) -> Mapping[str, Any]:
    node = prompt[node_id]
    inputs = node.get("inputs") if isinstance(node, Mapping) else None
    return inputs if isinstance(inputs, Mapping) else {}


def _linked(prompt: Mapping[str, Any], value: object) -> str | None:
    """The node that a link names, if `value` is one."""
    if (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(prompt.get(value[0]), dict)
    ):
        return value[0]
    return None
