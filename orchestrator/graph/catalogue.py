"""The catalogue: all node specs by class, and its JSON form that the front reads without node code."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from types import MappingProxyType
from typing import Any, cast

from orchestrator.graph.kinds import AudioRecord, Bool, Float, InputFile, Int, Kind, Link, OneOf, Text
from orchestrator.graph.spec import HiddenInput, Input, NodeSpec, Output

_KINDS: Mapping[str, type[Kind]] = MappingProxyType(
    {kind.__name__: kind for kind in (Int, Float, Text, AudioRecord, Bool, OneOf, InputFile, Link)}
)
_FORMAT = 1


class BadCatalogue(ValueError):
    """The catalogue file is not one of ours or of another format."""


@dataclass(frozen=True)
class Catalogue(Mapping[str, NodeSpec]):
    """Node specs by class, in declaration order."""

    specs: Mapping[str, NodeSpec]

    @classmethod
    def of(cls, specs: Iterable[NodeSpec]) -> Catalogue:
        """Refuses a duplicate class (BadCatalogue)."""
        found: dict[str, NodeSpec] = {}
        for spec in specs:
            if spec.id in found:
                raise BadCatalogue(f"{spec.id} occurs twice")
            found[spec.id] = spec
        return cls(MappingProxyType(found))

    def __getitem__(self, class_type: str) -> NodeSpec:
        return self.specs[class_type]

    def __iter__(self) -> Iterator[str]:
        return iter(self.specs)

    def __len__(self) -> int:
        return len(self.specs)


def dump(catalogue: Catalogue) -> str:
    """JSON text, one node a line, so that a changed node is one changed line."""
    lines = ",\n".join(json.dumps(_plain(spec), ensure_ascii=False) for spec in catalogue.values())
    return f'{{"format": {_FORMAT}, "nodes": [\n{lines}\n]}}\n'


def load(text: str | bytes) -> Catalogue:
    """Inverse of `dump`. Raises BadCatalogue."""
    try:
        data = json.loads(text)
        if data["format"] != _FORMAT:
            raise BadCatalogue(f"catalogue format {data['format']}, this version reads {_FORMAT}")
        return Catalogue.of(_spec(item) for item in data["nodes"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise BadCatalogue(f"not a catalogue file: {error}") from error


def _plain(value: object) -> dict[str, Any]:
    """Fields that differ from their defaults; kinds carry their class name."""
    assert hasattr(type(value), "__dataclass_fields__")
    plain: dict[str, Any] = {"kind": type(value).__name__} if isinstance(value, Kind) else {}
    for item in fields(cast(Any, value)):
        content = getattr(value, item.name)
        if not item.init or (item.default is not MISSING and _same(content, item.default)):
            continue
        if isinstance(content, tuple):
            content = [_plain(part) if hasattr(part, "__dataclass_fields__") else part for part in content]
        elif isinstance(content, Kind):
            content = _plain(content)
        elif isinstance(content, Mapping):
            content = dict(content)
        plain[item.name] = content
    return plain


def _same(left: object, right: object) -> bool:
    return type(left) is type(right) and left == right


def _spec(data: dict[str, Any]) -> NodeSpec:
    lists = {
        "inputs": tuple(Input(**{**item, "kind": _kind(item["kind"])}) for item in data.get("inputs", ())),
        "outputs": tuple(Output(**item) for item in data.get("outputs", ())),
        "hidden": tuple(HiddenInput(**item) for item in data.get("hidden", ())),
    }
    return NodeSpec(**{**data, **lists})


def _kind(data: dict[str, Any]) -> Kind:
    given = {name: value for name, value in data.items() if name != "kind"}
    if "values" in given:
        given["values"] = tuple(given["values"])
    return _KINDS[data["kind"]](**given)
