"""Graphs give what the torch networks give, at every size and from every stored type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model_service.archs.registry import arch
from model_service.graphs.build import build_graph
from model_service.graphs.options import GraphOptions
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.archs.tiny import PREFIXES, inputs, network, reference, relative_error, tensors
from tests.unit.model_service.graphs.opened import opened

# onnxruntime and torch sum in another order; errors of float32 stay well below this.
TOLERANCE = 1e-5

UNET_SIDES = [
    {"batch": 2, "height": 8, "width": 8, "tokens": 77},
    {"batch": 1, "height": 9, "width": 7, "tokens": 154},
    {"batch": 3, "height": 1, "width": 1, "tokens": 1},
    {"batch": 1, "height": 2, "width": 33, "tokens": 5},
]
SIDES = {
    "sd15_unet": UNET_SIDES,
    "clip_l": [{"batch": 1}, {"batch": 3}],
    "kl_vae_decoder": [
        {"batch": 1, "latent_height": 4, "latent_width": 4},
        {"batch": 2, "latent_height": 3, "latent_width": 5},
    ],
    "kl_vae_encoder": [{"batch": 1, "height": 16, "width": 16}, {"batch": 2, "height": 24, "width": 8}],
}


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("arch_id", list(SIDES))
def test_the_graph_equals_the_network_at_every_size(arch_id: str, portable: bool, tmp_path: Path) -> None:
    module = network(arch_id)
    header = tensors(module).under(PREFIXES[arch_id]).write(tmp_path / "model.safetensors")
    model = opened(header, arch_id, tmp_path, portable=portable)
    for seed, sides in enumerate(SIDES[arch_id]):
        feeds = inputs(arch_id, seed, **sides)
        for name, wanted in zip((spec.name for spec in model.outputs), reference(module, feeds), strict=True):
            given = model.infer(feeds)[name]
            assert given.shape == wanted.shape
            assert relative_error(given, wanted) < TOLERANCE


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("arch_id", ["sd15_unet", "clip_l"])
def test_stored_types_are_widened_in_the_graph(arch_id: str, dtype: torch.dtype, tmp_path: Path) -> None:
    module = network(arch_id)
    stored = tensors(module).to(dtype)
    module.load_state_dict({name: value.float() for name, value in stored.values.items()})
    model = opened(stored.write(tmp_path / "model.safetensors"), arch_id, tmp_path)
    feeds = inputs(arch_id, **SIDES[arch_id][1])
    for given, wanted in zip(model.infer(feeds).values(), reference(module, feeds), strict=True):
        assert relative_error(given, wanted) < TOLERANCE


def test_text_layers_are_counted_from_one_and_embeddings_replace_words(tmp_path: Path) -> None:
    module = network("clip_l")
    model = opened(tensors(module).write(tmp_path / "model.safetensors"), "clip_l", tmp_path)
    feeds = inputs("clip_l", batch=2)
    layers = [model.infer({**feeds, "layer": np.asarray([number])})["hidden"] for number in (1, 2, 3)]
    assert np.array_equal(layers[2], model.infer(feeds)["hidden"])
    assert not np.allclose(layers[0], layers[1])

    word = int(feeds["tokens"][0, 4])
    row = module.text_model.embeddings.token_embedding.weight[word].numpy()
    mask = np.zeros_like(feeds["embeds_mask"])
    plain = model.infer({**feeds, "embeds_mask": mask})["hidden"]
    mask[0, 4] = 1
    embeds = feeds["embeds"].copy()
    embeds[0, 4] = row
    tokens = feeds["tokens"].copy()
    tokens[0, 4] = (word + 1) % 40
    replaced = model.infer({**feeds, "tokens": tokens, "embeds": embeds, "embeds_mask": mask})["hidden"]
    np.testing.assert_allclose(replaced, plain, rtol=1e-5, atol=1e-5)


def test_pooled_is_read_at_the_first_end_of_text(tmp_path: Path) -> None:
    module = network("clip_l")
    model = opened(tensors(module).write(tmp_path / "model.safetensors"), "clip_l", tmp_path)
    feeds = inputs("clip_l", batch=1)
    feeds["tokens"][0, 6] = feeds["tokens"][0, 9] = tiny.CONFIGS["clip_l"].end_token
    answer = model.infer(feeds)
    np.testing.assert_allclose(answer["pooled"][0], answer["hidden"][0, 6], rtol=1e-6)


def test_portable_graphs_use_the_standard_only() -> None:
    for arch_id in SIDES:
        assert {one.domain for one in onnx.load_model_from_string(tiny.graph(arch_id, True)).opset_import} == {""}


@pytest.mark.parametrize("arch_id", list(SIDES))
def test_graphs_are_valid_weightless_and_name_weights_as_the_network(arch_id: str) -> None:
    graph = onnx.load_model_from_string(tiny.graph(arch_id)).graph
    weights = {one.name: list(one.dims) for one in graph.initializer if one.data_location == onnx.TensorProto.EXTERNAL}
    expected = {name: list(value.shape) for name, value in network(arch_id).state_dict().items()}
    assert weights == expected
    signature = arch(arch_id).tensors(tiny.CONFIGS[arch_id])
    assert [one.name for one in graph.input] == [one.name for one in signature.inputs]
    assert [one.name for one in graph.output] == [one.name for one in signature.outputs]
    assert len(tiny.graph(arch_id)) < 200_000


def test_tracing_twice_gives_the_same_bytes() -> None:
    again = build_graph(arch("kl_vae_encoder"), tiny.CONFIGS["kl_vae_encoder"], GraphOptions())
    assert again.SerializeToString(deterministic=True) == tiny.graph("kl_vae_encoder")
