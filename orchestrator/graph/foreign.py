"""object_info of a class that is not ours -> NodeSpec, within bounds; what is malformed is refused with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kit.errors import InvalidRequest
from orchestrator.graph.kinds import Bool, Float, Int, Kind, Link, OneOf, Text
from orchestrator.graph.spec import HiddenInput, Input, NodeSpec, Output

MAX_INFO_BYTES = 1 << 20
MAX_NAME = 200
MAX_SLOTS = 1000
_MAX_DEPTH = 32
_UPLOADS = ("image_upload", "animated_image_upload", "video_upload", "audio_upload")
_HIDDEN = ("PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "DYNPROMPT")


def read_object_info(class_type: str, text: bytes) -> NodeSpec:
    """The spec as far as object_info tells it; options that we do not know are kept. Raises InvalidRequest (NODE_TYPE).

    Hidden inputs that the engine cannot fill are left out.
    """
    check_name(class_type, "class")
    if len(text) > MAX_INFO_BYTES:
        raise bad(class_type, f"object_info has more than {MAX_INFO_BYTES} bytes")
    try:
        info = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise bad(class_type, f"object_info is no JSON: {error}"[:200]) from error
    if not isinstance(info, dict) or _depth_of(info) > _MAX_DEPTH:
        raise bad(class_type, "object_info is no JSON object, or nested too deeply")
    return _Reader(class_type, info).spec()


def check_name(name: object, what: str) -> str:
    """A name that may be shown and compared. Raises InvalidRequest (NODE_TYPE)."""
    fine = isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
    if not fine:
        raise bad(repr(name)[:80], f"this is no name for {what}")
    assert isinstance(name, str)
    return name


def bad(class_type: str, why: str) -> InvalidRequest:
    """A class that is refused."""
    return InvalidRequest("a node type is refused", reason="NODE_TYPE", node_type=class_type, why=why)


class _Reader:
    def __init__(self, class_type: str, info: Mapping[str, Any]) -> None:
        self._class = class_type
        self._info = info
        self._v3 = "api_node" in info

    def spec(self) -> NodeSpec:
        sections = self._get("input", dict, {})
        display = self._info.get("display_name")
        hidden = self._hidden(sections.get("hidden", {}))
        inputs = (
            *self._inputs(sections, "required", True),
            *self._inputs(sections, "optional", False),
            *self._unshown(sections.get("hidden", {})),
        )
        names = [*(item.name for item in inputs), *(item.name for item in hidden)]
        if len(set(names)) != len(names) or len(names) > MAX_SLOTS:
            raise bad(self._class, "an input occurs twice, or there are too many")
        return NodeSpec(
            id=self._class,
            category=self._get("category", str, "")[:MAX_NAME],
            inputs=inputs,
            outputs=self._outputs(),
            hidden=hidden,
            display_name=display[:MAX_NAME] if isinstance(display, str) else None,
            python_module=self._get("python_module", str, "node_provider")[:MAX_NAME],
            description=self._get("description", str, ""),
            output_node=self._get("output_node", bool, False),
            deprecated=self._get("deprecated", bool, False),
            experimental=self._get("experimental", bool, False),
            v3=self._v3,
        )

    def _get(self, name: str, kind: type[Any], default: Any) -> Any:
        value = self._info.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise bad(self._class, f"{name} must be {kind.__name__}")
        return value

    def _inputs(self, sections: Mapping[str, Any], section: str, required: bool) -> tuple[Input, ...]:
        entries = sections.get(section) or {}
        if not isinstance(entries, dict) or len(entries) > MAX_SLOTS:
            raise bad(self._class, f"input.{section} must be an object of at most {MAX_SLOTS} inputs")
        return tuple(Input(check_name(name, "an input"), self._kind(name, e), required) for name, e in entries.items())

    def _unshown(self, entries: Mapping[str, Any]) -> tuple[Input, ...]:
        """Inputs among the hidden ones, declared as inputs are: a class that expands into itself gives them."""
        return tuple(
            Input(check_name(name, "a hidden input"), self._kind(name, entry), False, shown=False)
            for name, entry in entries.items()
            if isinstance(entry, list) and len(entry) > 0 and entry[0] not in _HIDDEN
        )

    def _kind(self, name: str, entry: Any) -> Kind:
        if not isinstance(entry, list) or not 1 <= len(entry) <= 2 or not isinstance(entry[0], (str, list)):
            raise bad(self._class, f"input {name!r} must be [type] or [type, options]")
        options = entry[1] if len(entry) == 2 else None
        if options is not None and not isinstance(options, dict):
            raise bad(self._class, f"options of input {name!r} must be an object")
        wire, rest = entry[0], dict(options or {})
        tooltip = rest.pop("tooltip", "")
        if not isinstance(tooltip, str):
            raise bad(self._class, f"the tooltip of input {name!r} must be text")
        kind = (
            self._choice(name, wire, rest)
            if isinstance(wire, list) or wire == "COMBO"
            else self._plain(name, wire, rest)
        )
        return replace(kind, tooltip=tooltip, options=kind.options if options is not None else None)

    def _choice(self, name: str, wire: str | list[Any], rest: dict[str, Any]) -> Kind:
        values = wire if isinstance(wire, list) else rest.pop("options", None)
        if rest.get("multiselect") is True:
            raise bad(self._class, f"input {name!r}: choices of several values are not supported")
        if isinstance(wire, str) and not self._v3:
            rest.pop("multiselect", None)
        if not isinstance(values, list) or not all(isinstance(v, (str, int, float, bool)) for v in values):
            raise bad(self._class, f"choices of input {name!r} must be a list of plain values")
        return OneOf(tuple(values), uploads=any(rest.get(name) is True for name in _UPLOADS), options=rest)

    def _plain(self, name: str, wire: str, rest: dict[str, Any]) -> Kind:
        match wire:
            case "INT" | "FLOAT":
                limits = {key: rest.pop(key) for key in ("min", "max") if rest.get(key) is not None}
                if not all(_number(value) for value in limits.values()):
                    raise bad(self._class, f"limits of input {name!r} must be numbers")
                kind = Int if wire == "INT" else Float
                return kind(min=limits.get("min"), max=limits.get("max"), options=rest)
            case "STRING":
                return Text(options=rest)
            case "BOOLEAN":
                return Bool(options=rest)
            case _:
                return Link(check_name(wire, "a type"), takes_values=True, options=rest)

    def _hidden(self, entries: Any) -> tuple[HiddenInput, ...]:
        if not isinstance(entries, dict):
            raise bad(self._class, "input.hidden must be an object")
        found = []
        for name, wire in entries.items():
            kind = wire[0] if isinstance(wire, list) and wire else wire
            if kind in _HIDDEN:
                found.append(HiddenInput(check_name(name, "a hidden input"), kind))
        return tuple(found)

    def _outputs(self) -> tuple[Output, ...]:
        types, names = self._get("output", list, []), self._get("output_name", list, [])
        lists = self._get("output_is_list", list, [])
        if len(types) > MAX_SLOTS:
            raise bad(self._class, f"more than {MAX_SLOTS} outputs")
        return tuple(self._output(index, kind, names, lists) for index, kind in enumerate(types))

    def _output(self, index: int, kind: Any, names: Sequence[Any], lists: Sequence[Any]) -> Output:
        # ComfyUI lets an output be a list of choices; as a link it is a COMBO.
        wire = "COMBO" if isinstance(kind, list) else check_name(kind, "a type")
        name = names[index] if index < len(names) and isinstance(names[index], str) else wire
        return Output(wire, name[:MAX_NAME], index < len(lists) and lists[index] is True)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _depth_of(value: object) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        if depth > _MAX_DEPTH:
            break
        if isinstance(item, dict):
            stack.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            stack.extend((inner, depth + 1) for inner in item)
    return deepest
