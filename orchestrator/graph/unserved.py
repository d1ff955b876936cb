"""ComfyUI's own nodes that are not here, and why; so that a refused prompt can say more than that a node is unknown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

FILE = "unserved_nodes.json"


@dataclass(frozen=True)
class Unserved:
    """`kind` groups nodes that will come, or not, for one reason."""

    kind: str
    reason: str


@cache
def unserved() -> Mapping[str, Unserved]:
    """By class name."""
    data = json.loads(files("orchestrator.graph").joinpath(FILE).read_bytes())
    reasons: Mapping[str, str] = data["reasons"]
    return MappingProxyType({name: Unserved(kind, reasons[kind]) for name, kind in data["nodes"].items()})
