"""Primitives: a value of its own node, for several others to share."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Bool, Float, Int, Text
from orchestrator.ports import Ctx

_CATEGORY, _MODULE = "utils/primitive", "comfy_extras.nodes_primitive"
_LARGEST = 2**63 - 1


@node(
    "PrimitiveString", category=_CATEGORY, display_name="String", python_module=_MODULE, v3=True,
    outputs=(("STRING", "STRING"),),
)  # fmt: skip
def primitive_string(ctx: Ctx, value: Annotated[str, Text(multiline=False)]) -> tuple[str]:
    """A line of text."""
    return (value,)


@node(
    "PrimitiveStringMultiline", category=_CATEGORY, display_name="String (Multiline)", python_module=_MODULE, v3=True,
    outputs=(("STRING", "STRING"),),
)  # fmt: skip
def primitive_string_multiline(ctx: Ctx, value: Annotated[str, Text(multiline=True)]) -> tuple[str]:
    """A text of several lines."""
    return (value,)


@node("PrimitiveInt", category=_CATEGORY, display_name="Int", python_module=_MODULE, v3=True, outputs=(("INT", "INT"),))
def primitive_int(
    ctx: Ctx, value: Annotated[int, Int(min=-_LARGEST, max=_LARGEST, control_after_generate=True)]
) -> tuple[int]:
    """A whole number."""
    return (value,)


@node(
    "PrimitiveFloat", category=_CATEGORY, display_name="Float", python_module=_MODULE, v3=True,
    outputs=(("FLOAT", "FLOAT"),),
)  # fmt: skip
def primitive_float(ctx: Ctx, value: Annotated[float, Float(min=-_LARGEST, max=_LARGEST)]) -> tuple[float]:
    """A number."""
    return (value,)


@node(
    "PrimitiveBoolean", category=_CATEGORY, display_name="Boolean", python_module=_MODULE, v3=True,
    outputs=(("BOOLEAN", "BOOLEAN"),),
)  # fmt: skip
def primitive_boolean(ctx: Ctx, value: Annotated[bool, Bool()]) -> tuple[bool]:
    """True or false."""
    return (value,)
