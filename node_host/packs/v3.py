"""Node classes of ComfyUI's V3 schema, as V1 classes: the same declaration, the same calls."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from node_host.surface.comfy_io import HIDDEN, Hidden, HiddenHolder, NodeOutput, Schema
from node_host.surface.graph_utils import ExecutionBlocker


async def classes_of(entrypoint: Any) -> tuple[dict[str, type[Any]], dict[str, str]]:
    """(classes, titles) by node id of what a pack's comfy_entrypoint returns."""
    extension = entrypoint()
    extension = await extension if inspect.isawaitable(extension) else extension
    await extension.on_load()
    classes: dict[str, type[Any]] = {}
    titles: dict[str, str] = {}
    for node in await extension.get_node_list():
        schema = node.define_schema()
        classes[schema.node_id] = as_v1(node, schema)
        if schema.display_name:
            titles[schema.node_id] = schema.display_name
    return classes, titles


def as_v1(node: Any, schema: Schema) -> type[Any]:
    """The class as V1Node takes it."""
    attributes: dict[str, Any] = {
        "INPUT_TYPES": classmethod(lambda _: _input_types(node.define_schema())),
        "RETURN_TYPES": tuple(output.io_type for output in schema.outputs),
        "RETURN_NAMES": tuple(output.display_name or output.io_type for output in schema.outputs),
        "OUTPUT_IS_LIST": tuple(output.is_output_list for output in schema.outputs),
        "INPUT_IS_LIST": schema.is_input_list,
        "OUTPUT_NODE": schema.is_output_node,
        "CATEGORY": schema.category,
        "DESCRIPTION": schema.description,
        "DEPRECATED": schema.is_deprecated,
        "EXPERIMENTAL": schema.is_experimental,
        "NOT_IDEMPOTENT": schema.not_idempotent,
        "FUNCTION": "execute",
        "execute": _execute(node, schema),
    }
    for theirs, ours in (("validate_inputs", "VALIDATE_INPUTS"), ("fingerprint_inputs", "IS_CHANGED")):
        if hasattr(node, theirs):
            attributes[ours] = staticmethod(getattr(node, theirs))
    if hasattr(node, "check_lazy_status"):
        attributes["check_lazy_status"] = _lazy(node, schema)
    return type(node.__name__, (), {**attributes, "__module__": node.__module__})


def _input_types(schema: Schema) -> dict[str, Any]:
    found: dict[str, Any] = {"required": {}, "optional": {}, "hidden": {}}
    for item in schema.inputs:
        found["optional" if item.optional else "required"][item.id] = item.as_v1()
    found["hidden"] = {f"__{item.name}": item.value for item in map(Hidden, schema.hidden)}
    return {part: entries for part, entries in found.items() if entries or part == "required"}


def _split(inputs: Mapping[str, Any], schema: Schema) -> tuple[dict[str, Any], HiddenHolder]:
    names = {f"__{item.name}": item.name for item in map(Hidden, schema.hidden)}
    shown = {name: value for name, value in inputs.items() if name not in names}
    hidden = {names[name]: value for name, value in inputs.items() if name in names}
    if schema.is_input_list:
        hidden = {name: value[0] if isinstance(value, list) else value for name, value in hidden.items()}
    return shown, HiddenHolder(hidden)


def _execute(node: Any, schema: Schema) -> Any:
    if inspect.iscoroutinefunction(node.execute):

        async def execute_later(self: Any, **inputs: Any) -> Any:
            shown, hidden = _split(inputs, schema)
            HIDDEN.set(hidden)
            return _as_dict(await node.execute(**shown))

        return execute_later

    def execute(self: Any, **inputs: Any) -> Any:
        shown, hidden = _split(inputs, schema)
        HIDDEN.set(hidden)
        return _as_dict(node.execute(**shown))

    return execute


def _lazy(node: Any, schema: Schema) -> Any:
    async def check_lazy_status(self: Any, **inputs: Any) -> Any:
        shown, hidden = _split(inputs, schema)
        HIDDEN.set(hidden)
        needed = node.check_lazy_status(**shown)
        return await needed if inspect.isawaitable(needed) else needed

    return check_lazy_status


def _as_dict(returned: Any) -> Any:
    if not isinstance(returned, NodeOutput):
        return returned
    result: Any = returned.args
    if returned.block_execution is not None:
        result = ExecutionBlocker(returned.block_execution)
    made = {"result": result, "ui": returned.ui, "expand": returned.expand}
    return {name: value for name, value in made.items() if value is not None}
