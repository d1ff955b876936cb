"""PreviewAny: whatever a link carries, as text."""

from __future__ import annotations

import json
from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Link, NodeOutput
from orchestrator.nodes.bounds import bounded_text
from orchestrator.ports import Ctx
from orchestrator.values.media import Audio
from orchestrator.values.tensors import CondEntry, Latent


@node(
    "PreviewAny", category="utils", display_name="Preview Any", python_module="comfy_extras.nodes_preview_any",
    output_node=True,
)  # fmt: skip
def preview_any(ctx: Ctx, source: Annotated[object, Link("*", options={})]) -> NodeOutput:
    """Shows a value as text: texts and numbers as they are, the rest as JSON or as Python prints it."""
    text = _text(source)
    bounded_text(len(text))
    return NodeOutput(ui={"text": [text]})


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (int, float)):
        return str(value)
    plain = _plain(value)
    try:
        return json.dumps(plain)
    except (TypeError, ValueError):
        return str(plain)


def _plain(value: object) -> object:
    """Latents, conditioning and sound in the shape that ComfyUI's nodes hand on, which its clients know."""
    if isinstance(value, Latent):
        parts = {"samples": value.samples, "noise_mask": value.noise_mask, "batch_index": value.batch_index}
        found = {name: part for name, part in parts.items() if part is not None}
        return {name: list(part) if isinstance(part, tuple) else part for name, part in found.items()}
    if isinstance(value, Audio):
        return {"waveform": value.waveform, "sample_rate": value.sample_rate}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, CondEntry):
        return [value.cross_attn, {"pooled_output": value.pooled, **value.options}]
    return value
