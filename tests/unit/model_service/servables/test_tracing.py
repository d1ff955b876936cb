"""Tracing in a process of its own: the graph arrives in the cache, errors arrive typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.errors import TooSlow, Unsupported
from model_service.archs.registry import arch
from model_service.graphs.options import GraphOptions
from model_service.graphs.store import GraphStore
from model_service.servables.tracing import trace_apart
from tests.unit.model_service.archs import tiny

ARCH = "kl_vae_decoder"


@pytest.mark.slow
def test_a_new_graph_arrives(tmp_path: Path) -> None:
    path, cache, options = tmp_path / "vae.safetensors", tmp_path / "graphs", GraphOptions(portable=True)
    tiny.tensors(tiny.network(ARCH)).write(path)
    trace_apart(path, ARCH, cache, options, 50)
    store = GraphStore(cache)
    assert store.is_known(arch(ARCH), tiny.CONFIGS[ARCH], options)
    assert store.graph_for(arch(ARCH), tiny.CONFIGS[ARCH], options) == tiny.graph(ARCH, portable=True)


def test_errors_arrive_typed(tmp_path: Path) -> None:
    path = tmp_path / "unknown.safetensors"
    weights = tiny.tensors(tiny.network(ARCH)).under("double_blocks.0.")
    weights.write(path)
    with pytest.raises(Unsupported) as caught:
        trace_apart(path, ARCH, tmp_path, GraphOptions(), 50)
    assert caught.value.reason == "ARCH_UNKNOWN"
    assert caught.value.facts["file"] == "unknown.safetensors"


def test_a_limit_is_kept(tmp_path: Path) -> None:
    with pytest.raises(TooSlow):
        trace_apart(tmp_path / "none", ARCH, tmp_path, GraphOptions(), 0.001)
