"""The catalogue that the front reads: all nodes of ours, without their code."""

from __future__ import annotations

from functools import cache
from importlib import resources

from orchestrator.graph.catalogue import Catalogue, load


@cache
def builtin_catalogue() -> Catalogue:
    """As committed."""
    return load(resources.files("orchestrator.graph").joinpath("builtin_nodes.json").read_bytes())
