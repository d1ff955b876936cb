"""Reading what the model service said of a network, with an error that names the file where a fact is missing."""

from __future__ import annotations

from collections.abc import Mapping

from kit.errors import Unsupported
from orchestrator.values.models import NetworkRef


def number(network: NetworkRef, facts: Mapping[str, object], name: str) -> float:
    """A numeric fact of the network. Raises Unsupported."""
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unsupported(
            "the model service does not tell what this node must know of the network", reason="FACT_MISSING",
            fact=name, arch=network.arch, file=network.file.name,
        )  # fmt: skip
    return value


def whole(network: NetworkRef, facts: Mapping[str, object], name: str) -> int:
    """A whole-number fact of the network. Raises Unsupported."""
    return int(number(network, facts, name))
