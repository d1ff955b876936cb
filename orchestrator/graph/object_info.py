"""NodeSpec -> ComfyUI's object_info entry, in the key order of the recording."""

from __future__ import annotations

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import InputFile, Json, Kind, Link, Lists, OneOf
from orchestrator.graph.spec import Input, NodeSpec


def object_info(spec: NodeSpec, lists: Lists) -> dict[str, Json]:
    """The entry of one class; combos are filled from `lists`."""
    inputs: dict[str, Json] = {"required": _section(spec, spec.required, lists)}
    order: dict[str, Json] = {"required": [item.name for item in spec.required]}
    optional = tuple(item for item in spec.optional if item.shown)
    if optional:
        inputs["optional"] = _section(spec, optional, lists)
        order["optional"] = [item.name for item in optional]
    hidden: dict[str, Json] = {item.name: [item.type] if spec.v3 else item.type for item in spec.hidden}
    hidden.update(_section(spec, tuple(item for item in spec.optional if not item.shown), lists))
    if hidden:
        inputs["hidden"] = hidden
        order["hidden"] = list(hidden)
    info: dict[str, Json] = {
        "input": inputs,
        "input_order": order,
        "output": [slot.type for slot in spec.outputs],
        "output_is_list": [slot.is_list for slot in spec.outputs],
        "output_name": [slot.name for slot in spec.outputs],
        "name": spec.id,
        "display_name": spec.display_name if spec.display_name is not None or spec.v3 else spec.id,
        "description": spec.description,
        "python_module": spec.python_module,
        "category": spec.category,
        "output_node": spec.output_node,
    }
    if spec.deprecated or spec.v3:
        info["deprecated"] = spec.deprecated
    if spec.experimental or spec.v3:
        info["experimental"] = spec.experimental
    if spec.v3:
        info["api_node"] = False
    return info


def all_object_info(catalogue: Catalogue, lists: Lists) -> dict[str, Json]:
    """{class: entry} of the whole catalogue."""
    return {class_type: object_info(spec, lists) for class_type, spec in catalogue.items()}


def input_config(kind: Kind, v3: bool, lists: Lists) -> list[Json]:
    """[type, options] as validation errors show it: options always there, no tooltip."""
    choices = kind.choices(lists) if isinstance(kind, (OneOf, InputFile)) else None
    if isinstance(kind, InputFile) and kind.shown_as:
        choices = None
    options = kind.known_options()
    if choices is not None and v3:
        options.update(multiselect=False, options=choices)
    options.update(kind.options or {})
    return [kind.wire_type if choices is None or v3 else choices, options]


def _section(spec: NodeSpec, inputs: tuple[Input, ...], lists: Lists) -> dict[str, Json]:
    return {item.name: _entry(item.kind, spec.v3, lists) for item in inputs}


def _entry(kind: Kind, v3: bool, lists: Lists) -> list[Json]:
    wire, options = input_config(kind, v3, lists)
    assert isinstance(options, dict)
    if kind.tooltip:
        options["tooltip"] = kind.tooltip
    # ComfyUI's older nodes write links and combos without an options object unless they have something to say.
    bare = isinstance(kind, (Link, OneOf, InputFile)) and not options and kind.options is None and not v3
    return [wire] if bare else [wire, options]
