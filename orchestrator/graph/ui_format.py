"""Workflows as ComfyUI's web UI saves them, turned into prompts: widgets by position, links by number.

The saved form says what stands on a canvas. Which widget a value belongs to follows from the order of a class's
inputs, so the catalogue is needed. Nodes that exist on the canvas only (notes, reroutes, primitives) are resolved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kit.errors import InvalidPrompt, Unsupported
from orchestrator.graph.kinds import AudioRecord, Bool, InputFile, Int, Json, Kind, Numeric, OneOf, Text
from orchestrator.graph.spec import NodeSpec

MAX_HOPS = 1000
_NOTES = frozenset({"Note", "MarkdownNote"})
_REROUTE, _PRIMITIVE = "Reroute", "PrimitiveNode"
_MUTED, _BYPASSED = 2, 4
_AFTER_GENERATE = ("fixed", "increment", "decrement", "randomize")
_SEEDS = ("seed", "noise_seed")


def is_ui_format(data: object) -> bool:
    """Whether this is a saved canvas and no prompt."""
    return isinstance(data, dict) and isinstance(data.get("nodes"), list) and isinstance(data.get("links"), list)


def prompt_of(data: Mapping[str, Any], catalogue: Mapping[str, NodeSpec]) -> dict[str, Json]:
    """The prompt in API format. Nodes of unknown classes keep their links and lose their widgets.

    Raises InvalidPrompt (UI_FORMAT) for a canvas that contradicts itself, Unsupported (UI_SUBGRAPH).
    """
    canvas = _Canvas.of(data)
    prompt: dict[str, Json] = {}
    for node in canvas.nodes.values():
        if node.is_real:
            spec = catalogue.get(node.type)
            inputs = dict(_widgets(node, spec)) if spec is not None else {}
            inputs.update(canvas.links_into(node))
            prompt[node.id] = {"class_type": node.type, "inputs": inputs, "_meta": {"title": node.title}}
    return prompt


@dataclass(frozen=True)
class _Slot:
    name: str
    type: str
    link: int | None


@dataclass(frozen=True)
class _UiNode:
    id: str
    type: str
    title: str
    mode: int
    inputs: tuple[_Slot, ...]
    output_types: tuple[str, ...]
    values: object

    @property
    def is_real(self) -> bool:
        """Whether it is in the prompt."""
        virtual = self.type in _NOTES or self.type in (_REROUTE, _PRIMITIVE)
        return not virtual and self.mode not in (_MUTED, _BYPASSED)


@dataclass(frozen=True)
class _Canvas:
    nodes: Mapping[str, _UiNode]
    links: Mapping[int, tuple[str, int]]  # number -> where it comes from

    @staticmethod
    def of(data: Mapping[str, Any]) -> _Canvas:
        definitions = data.get("definitions")
        if isinstance(definitions, dict) and definitions.get("subgraphs"):
            raise Unsupported(
                "the workflow has subgraphs: unpack them, or export it with Export (API)", reason="UI_SUBGRAPH"
            )
        try:
            nodes = [_node(item) for item in data["nodes"]]
            links = dict(_link(item) for item in data["links"] if item is not None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InvalidPrompt(
                "this is no workflow as the web UI saves it", reason="UI_FORMAT", problem=type(error).__name__
            ) from None
        return _Canvas({node.id: node for node in nodes}, links)

    def links_into(self, node: _UiNode) -> Iterator[tuple[str, Json]]:
        """Linked inputs, each as a link to a real node or as the value of a primitive."""
        for slot in node.inputs:
            if slot.link is not None and (found := self._source(slot.link)) is not None:
                yield slot.name, found[0]

    def _source(self, link: int) -> tuple[Json] | None:
        """What a link brings: through reroutes and bypassed nodes; None: nothing (it ends at a muted node)."""
        for _ in range(MAX_HOPS):
            if link not in self.links:
                return None
            node_id, slot = self.links[link]
            node = self.nodes.get(node_id)
            if node is None or node.mode == _MUTED:
                return None
            if node.type == _PRIMITIVE:
                return (node.values[0],) if isinstance(node.values, list) and node.values else None
            if node.type != _REROUTE and node.mode != _BYPASSED:
                return ([node_id, slot],)
            passed = _passed_on(node, slot)
            if passed is None:
                return None
            link = passed
        raise InvalidPrompt("reroutes of the workflow are linked in a circle", reason="UI_FORMAT")


def _passed_on(node: _UiNode, slot: int) -> int | None:
    """The link that a reroute or a bypassed node hands on at this output: the same place first, then any that fits."""
    if node.type == _REROUTE:
        return node.inputs[0].link if node.inputs else None
    wanted = node.output_types[slot] if slot < len(node.output_types) else ""
    same_place = node.inputs[slot : slot + 1]
    fitting = (item for item in (*same_place, *node.inputs) if item.type == wanted and item.link is not None)
    return next((item.link for item in fitting), None)


def _widgets(node: _UiNode, spec: NodeSpec) -> Iterator[tuple[str, Json]]:
    """Values of the widgets by input name."""
    if isinstance(node.values, dict):
        yield from ((item.name, node.values[item.name]) for item in spec.inputs if item.name in node.values)
        return
    values: Sequence[Any] = node.values if isinstance(node.values, list) else ()
    place = 0
    for item in (*spec.required, *(each for each in spec.optional if each.shown)):
        if place >= len(values):
            return
        if not _has_widget(item.kind):
            continue
        yield item.name, values[place]
        place += 1
        if _has_control(item.name, item.kind) and place < len(values) and values[place] in _AFTER_GENERATE:
            place += 1


def _has_widget(kind: Kind) -> bool:
    if isinstance(kind, (Numeric, Text)) and kind.force_input:
        return False
    if (kind.options or {}).get("forceInput"):
        return False
    return isinstance(kind, (Numeric, Text, Bool, OneOf, InputFile, AudioRecord))


def _has_control(name: str, kind: Kind) -> bool:
    """Whether "control after generate" follows the widget."""
    return isinstance(kind, Int) and bool(kind.control_after_generate or name in _SEEDS)


def _node(item: Mapping[str, Any]) -> _UiNode:
    inputs = tuple(
        _Slot(str(slot["name"]), str(slot.get("type", "")), slot.get("link")) for slot in item.get("inputs") or ()
    )
    outputs = tuple(str(slot.get("type", "")) for slot in item.get("outputs") or ())
    node_type = str(item["type"])
    title = str(item.get("title") or node_type)
    mode = item.get("mode", 0)
    return _UiNode(
        str(item["id"]), node_type, title, mode if isinstance(mode, int) else 0, inputs, outputs,
        item.get("widgets_values"),
    )  # fmt: skip


def _link(item: Any) -> tuple[int, tuple[str, int]]:
    if isinstance(item, dict):  # the newer schema
        return int(item["id"]), (str(item["origin_id"]), int(item["origin_slot"]))
    number, origin, slot, *_ = item
    return int(number), (str(origin), int(slot))
