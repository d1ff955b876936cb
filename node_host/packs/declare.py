"""object_info of a node class written for ComfyUI (V1): read from INPUT_TYPES and the class's attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node_host.packs.outcome import json_plain

_STRANGE = "HELIOGRAPH-NO-SUCH-TYPE"


@dataclass(frozen=True)
class Declaration:
    """What a class says of itself now; lists of choices may change while it is there."""

    info: Mapping[str, Any]
    types: tuple[str, ...]
    lists: tuple[bool, ...]
    hidden: Mapping[str, str]
    required: tuple[str, ...]
    lazy: tuple[str, ...]
    any_inputs: tuple[str, ...]
    any_outputs: tuple[int, ...]


def declaration(class_type: str, cls: type[Any], title: str | None, module: str) -> Declaration:
    """Raises whatever INPUT_TYPES raises, TypeError for what is no declaration."""
    sections = cls.INPUT_TYPES()
    if not isinstance(sections, Mapping):
        raise TypeError(f"INPUT_TYPES of {class_type} returned {type(sections).__name__} and no dict")
    entries: dict[str, dict[str, Any]] = {}
    taken: set[str] = set()  # the first of a name counts, as in ComfyUI
    for part in ("required", "optional", "hidden"):
        if part in sections:
            entries[part] = {str(name): kind for name, kind in (sections[part] or {}).items() if name not in taken}
            taken.update(entries[part])
    hidden = entries.pop("hidden", {})
    inputs: dict[str, Any] = {
        part: {name: _entry(entry) for name, entry in found.items()} for part, found in entries.items()
    }
    inputs.setdefault("required", {})
    if hidden:
        inputs["hidden"] = json_plain(hidden, str)
    outputs = list(getattr(cls, "RETURN_TYPES", ()) or ())
    names = list(getattr(cls, "RETURN_NAMES", None) or ())
    lists = list(getattr(cls, "OUTPUT_IS_LIST", None) or ())
    types = [_type(kind) for kind in outputs]
    info: dict[str, Any] = {
        "input": inputs,
        "input_order": {part: list(found) for part, found in inputs.items()},
        "output": types,
        "output_is_list": [index < len(lists) and bool(lists[index]) for index in range(len(outputs))],
        "output_name": [
            str(names[index]) if index < len(names) else _name(kind) for index, kind in enumerate(types)
        ],
        "name": class_type,
        "display_name": title or class_type,
        "description": str(getattr(cls, "DESCRIPTION", "") or ""),
        "python_module": module,
        "category": str(getattr(cls, "CATEGORY", "") or "sd"),
        "output_node": getattr(cls, "OUTPUT_NODE", False) is True,
        **({"deprecated": True} if getattr(cls, "DEPRECATED", False) else {}),
        **({"experimental": True} if getattr(cls, "EXPERIMENTAL", False) else {}),
    }  # fmt: skip
    everything = {name: entry for found in entries.values() for name, entry in found.items()}
    return Declaration(
        info=info,
        types=tuple(_name(kind) for kind in types),
        lists=tuple(info["output_is_list"]),
        hidden={str(name): str(kind) for name, kind in hidden.items() if isinstance(kind, str)},
        required=tuple(entries.get("required", {})),
        lazy=tuple(name for name, entry in everything.items() if _options(entry).get("lazy")),
        any_inputs=tuple(name for name, entry in everything.items() if _takes_all(_kind(entry), given=_STRANGE)),
        any_outputs=tuple(index for index, kind in enumerate(outputs) if _takes_all(_STRANGE, given=kind)),
    )  # fmt: skip


def _entry(entry: Any) -> list[Any]:
    kind, options = _kind(entry), _options(entry)
    wire = json_plain(list(kind), str) if isinstance(kind, (list, tuple)) else _type(kind)
    if isinstance(wire, list):
        wire = [item if isinstance(item, (str, int, float, bool)) else str(item) for item in wire]
    if not isinstance(entry, (list, tuple)) or len(entry) < 2:
        return [wire]
    # None of the values a class puts there for itself (functions, classes) means anything to a client.
    return [wire, {name: value for name, value in json_plain(options, _nothing).items() if value is not None}]


def _kind(entry: Any) -> Any:
    return entry[0] if isinstance(entry, (list, tuple)) and entry else entry


def _options(entry: Any) -> Mapping[str, Any]:
    found = entry[1] if isinstance(entry, (list, tuple)) and len(entry) > 1 else None
    return found if isinstance(found, Mapping) else {}


def _type(kind: Any) -> Any:
    if isinstance(kind, (list, tuple)):
        return json_plain(list(kind), str)
    return str.__str__(kind) if isinstance(kind, str) else str(kind)


def _name(kind: Any) -> str:
    return kind if isinstance(kind, str) else "COMBO"


def _takes_all(wanted: Any, *, given: Any) -> bool:
    """By the comparison that ComfyUI makes: packs have texts that are never unequal to anything."""
    plain = type(wanted) is str and type(given) is str
    if plain or not (isinstance(wanted, str) and isinstance(given, str)):
        return False
    return not given != wanted  # noqa: SIM202  # `!=` is what such texts define


def _nothing(_: Any) -> None:
    return None
