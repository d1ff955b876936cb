"""Graphs are traced once, kept whole, and the common ones are shipped."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import onnx
import pytest
import torch

from model_service.archs.blocks.kl_vae_keys import VaeConfig
from model_service.archs.registry import all_archs, arch
from model_service.graphs import build, ship
from model_service.graphs.options import GraphOptions
from model_service.graphs.store import SHIPPED, GraphStore, graph_key, shipped
from model_service.graphs.trace import build_on_meta
from tests.unit.model_service.archs.tiny import CONFIGS, graph

DECODER = arch("kl_vae_decoder")
CONFIG = CONFIGS["kl_vae_decoder"]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Counts traces, which give a graph that was traced before."""
    calls: list[object] = []

    def fake(_arch: object, config: object, _options: object) -> onnx.ModelProto:
        calls.append(config)
        return onnx.load_model_from_string(graph("kl_vae_decoder"))

    monkeypatch.setattr(build, "build_graph", fake)
    return calls


def test_a_graph_is_traced_once_and_kept(traced: list[object], tmp_path: Path) -> None:
    store = GraphStore(tmp_path / "graphs")
    assert not store.is_known(DECODER, CONFIG)
    first = store.graph_for(DECODER, CONFIG)
    assert store.is_known(DECODER, CONFIG)
    assert GraphStore(tmp_path / "graphs").graph_for(DECODER, CONFIG) == first == graph("kl_vae_decoder")
    assert traced == [CONFIG]
    assert [file.suffix for file in (tmp_path / "graphs").iterdir()] == [".zst"]


def test_threads_that_ask_at_once_wait_for_one_trace(traced: list[object], tmp_path: Path) -> None:
    store = GraphStore(tmp_path)
    threads = [threading.Thread(target=store.graph_for, args=(DECODER, CONFIG)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(traced) == 1


def test_a_damaged_cache_entry_is_written_anew(traced: list[object], tmp_path: Path) -> None:
    store = GraphStore(tmp_path)
    store.graph_for(DECODER, CONFIG)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert store.graph_for(DECODER, CONFIG) == graph("kl_vae_decoder")
    assert len(traced) == 2


def test_a_failed_write_leaves_nothing_behind(
    traced: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_self: Path, _target: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        GraphStore(tmp_path).graph_for(DECODER, CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_the_key_names_all_that_a_graph_depends_on() -> None:
    other = VaeConfig(3, 4, 4, (32, 64), 2)
    keys = {
        graph_key(DECODER, CONFIG, GraphOptions()),
        graph_key(DECODER, other, GraphOptions()),
        graph_key(DECODER, CONFIG, GraphOptions(portable=True)),
        graph_key(arch("kl_vae_encoder"), CONFIG, GraphOptions()),
    }
    assert len(keys) == 4


def test_shipped_graphs_are_complete_and_as_the_index_says() -> None:
    assert ship.problems(SHIPPED) == []


def test_a_stale_shipment_is_noticed(tmp_path: Path) -> None:
    for file in SHIPPED.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    index = json.loads((tmp_path / "index.json").read_text())
    changed, removed = sorted(index["graphs"])[:2]
    index["graphs"][changed]["sha256"] = "0"
    (tmp_path / "index.json").write_text(json.dumps(index))
    (tmp_path / f"{removed}.onnx.zst").unlink()
    (tmp_path / "strange.onnx.zst").write_bytes(b"")
    assert {problem.split(":")[0] for problem in ship.problems(tmp_path)} == {changed, removed, "strange"}


@pytest.mark.parametrize(("arch_id", "number"), [(one.id, n) for one in all_archs() for n in range(len(one.samples))])
def test_shipped_graphs_have_the_weights_of_their_network(arch_id: str, number: int, tmp_path: Path) -> None:
    one = arch(arch_id)
    store = GraphStore(tmp_path)
    assert store.is_known(one, one.samples[number])
    model = onnx.load_model_from_string(store.graph_for(one, one.samples[number]))
    weights = {w.name: list(w.dims) for w in model.graph.initializer if w.data_location == onnx.TensorProto.EXTERNAL}
    state = build_on_meta(one, one.samples[number]).state_dict()
    assert weights == {name: list(value.shape) for name, value in state.items()}
    assert all(value.dtype == torch.float32 for value in state.values())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_is_not_shipped() -> None:
    assert shipped("nothing") is None
