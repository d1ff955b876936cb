"""Weights are used where they lie; what does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from kit.errors import InvalidModel
from model_service.graphs.bind import bind
from model_service.weights.header import TensorEntry
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.archs.tiny import Tensors, inputs, network, reference, relative_error, tensors
from tests.unit.model_service.graphs.opened import bound, component, opened

ARCH = "kl_vae_encoder"
SIDES = {"batch": 1, "height": 16, "width": 8}


def test_every_weight_points_at_its_bytes_and_nothing_is_copied(tmp_path: Path) -> None:
    stored = tensors(network(ARCH)).to(torch.float16)
    header = stored.write(tmp_path / "model.safetensors")
    model = bound(header, ARCH)
    data = (tmp_path / "model.safetensors").read_bytes()
    for weight in onnx.load_model_from_string(model.model).graph.initializer:
        if weight.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {one.key: one.value for one in weight.external_data}
        assert place["location"] == "model.safetensors"
        begin, length = int(place["offset"]), int(place["length"])
        assert data[begin : begin + length] == stored.values[weight.name].numpy().tobytes()
    assert model.copied == ()
    assert model.mapped_bytes == sum(entry.nbytes for entry in header.tensors.values())
    assert len(model.model) < 100_000


def test_a_linked_file_is_bound_where_it_really_is(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    module = network(ARCH)
    tensors(module).write(tmp_path / "store" / "blob")
    link = tmp_path / "model.safetensors"
    link.symlink_to(tmp_path / "store" / "blob")
    header = tensors(module).write(link)
    assert (bound(header, ARCH).folder, bound(header, ARCH).location) == (str(tmp_path / "store"), "blob")
    feeds = inputs(ARCH, **SIDES)
    answer = opened(header, ARCH, tmp_path).infer(feeds)["latent"]
    assert relative_error(answer, reference(module, feeds)[0]) < 1e-5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_tensors_at_odd_offsets_are_copied_and_right(dtype: torch.dtype, tmp_path: Path) -> None:
    module = network(ARCH)
    stored = tensors(module).to(dtype)
    module.load_state_dict({name: value.float() for name, value in stored.values.items()})
    header = stored.write(tmp_path / "model.safetensors", shift=1)
    model = bound(header, ARCH)
    assert len(model.copied) == len(stored.values)
    assert model.mapped_bytes == 0
    feeds = inputs(ARCH, **SIDES)
    answer = opened(header, ARCH, tmp_path).infer(feeds)["latent"]
    assert relative_error(answer, reference(module, feeds)[0]) < 1e-5


def test_a_one_by_one_convolution_may_be_stored_as_a_matrix(tmp_path: Path) -> None:
    module = network(ARCH)
    flat = {
        name: value[:, :, 0, 0] if ".attn_1." in name and value.dim() == 4 else value
        for name, value in tensors(module).values.items()
    }
    feeds = inputs(ARCH, **SIDES)
    answer = opened(Tensors(flat).write(tmp_path / "model.safetensors"), ARCH, tmp_path).infer(feeds)["latent"]
    assert relative_error(answer, reference(module, feeds)[0]) < 1e-5


@pytest.mark.parametrize("last", [False, True])
def test_an_overlay_replaces_weights_in_any_type(last: bool, tmp_path: Path) -> None:
    module = network(ARCH)
    names = list(tensors(module).values)
    chosen = [names[-1]] if last else ["encoder.conv_in.weight", "encoder.mid.attn_1.q.bias", "quant_conv.weight"]
    stored = tensors(module).to(torch.float16)
    header = stored.write(tmp_path / "model.safetensors")
    changed = {name: stored.values[name].float().numpy() * 2 for name in chosen}
    overlay = {
        name: ("F16", value.astype(np.float16)) if number else ("F32", value)
        for number, (name, value) in enumerate(changed.items())
    }
    module.load_state_dict({name: value.float() for name, value in stored.values.items()})
    feeds = inputs(ARCH, **SIDES)
    base = reference(module, feeds)[0]
    module.load_state_dict({name: torch.from_numpy(value) for name, value in changed.items()}, strict=False)
    wanted = reference(module, feeds)[0]
    model = opened(header, ARCH, tmp_path, overlay)
    assert relative_error(model.infer(feeds)["latent"], wanted) < 1e-5
    assert relative_error(base, wanted) > 1e-3
    assert relative_error(opened(header, ARCH, tmp_path).infer(feeds)["latent"], base) < 1e-5


def test_a_model_bound_with_an_overlay_does_not_open_without_it(tmp_path: Path) -> None:
    header = tensors(network(ARCH)).write(tmp_path / "model.safetensors")
    model = bound(header, ARCH, {"quant_conv.bias": ("F32", np.zeros(8, np.float32))})
    (tmp_path / "model.onnx").write_bytes(model.model)
    from model_service.runtime.engine import OrtEngine
    from model_service.runtime.recipe import recipe_for

    with pytest.raises(InvalidModel):
        OrtEngine().open(recipe_for(model, tmp_path / "model.onnx"))


def test_missing_and_left_over_tensors_are_named(tmp_path: Path) -> None:
    odd = tensors(network(ARCH)).without("encoder.norm_out.bias") | Tensors({"encoder.extra": torch.zeros(2)})
    header = odd.under("first_stage_model.").write(tmp_path / "model.safetensors")
    with pytest.raises(InvalidModel) as caught:
        bound(header, ARCH)
    assert caught.value.facts["missing"] == "first_stage_model.encoder.norm_out.bias"
    assert caught.value.facts["extra"] == "first_stage_model.encoder.extra"


def test_only_a_few_of_many_names_are_shown(tmp_path: Path) -> None:
    many = tensors(network(ARCH)) | Tensors({f"encoder.extra.{n}": torch.zeros(2) for n in range(9)})
    with pytest.raises(InvalidModel) as caught:
        bound(many.write(tmp_path / "model.safetensors"), ARCH)
    assert caught.value.facts["extra"].endswith("and 4 more")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("encoder.norm_out.weight", torch.zeros(32), "encoder.norm_out.weight[32] is not [64]"),
        ("encoder.norm_out.weight", torch.zeros(64, dtype=torch.int64), "encoder.norm_out.weight is I64"),
        ("encoder.norm_out.weight", torch.zeros(64, dtype=torch.int32), "encoder.norm_out.weight is I32"),
    ],
)
def test_wrong_shapes_and_types_are_named(name: str, value: torch.Tensor, told: str, tmp_path: Path) -> None:
    odd = Tensors({**tensors(network(ARCH)).values, name: value})
    with pytest.raises(InvalidModel) as caught:
        bound(odd.write(tmp_path / "model.safetensors"), ARCH)
    assert caught.value.facts["wrong"] == told


def test_a_patch_of_unknown_tensors_is_refused(tmp_path: Path) -> None:
    part = component(tensors(network(ARCH)).write(tmp_path / "model.safetensors"), ARCH).part
    with pytest.raises(InvalidModel) as caught:
        bind(tiny.graph(ARCH), part, (), {"nothing.weight": TensorEntry("nothing.weight", "F32", (1,), 0, 4)})
    assert caught.value.facts["unknown_in_patch"] == "nothing.weight"


def test_tensors_without_use_are_tolerated_where_the_architecture_says_so(tmp_path: Path) -> None:
    positions = Tensors({"text_model.embeddings.position_ids": torch.arange(77)[None]})
    header = (tensors(network("clip_l")) | positions).write(tmp_path / "model.safetensors")
    assert bound(header, "clip_l").copied == ()


def test_float8_weights_stay_narrow_and_are_widened_in_the_graph(tmp_path: Path) -> None:
    module = network(ARCH)
    stored = tensors(module).to(torch.float8_e4m3fn)
    module.load_state_dict({name: value.float() for name, value in stored.values.items()})
    feeds = inputs(ARCH, **SIDES)
    answer = opened(stored.write(tmp_path / "model.safetensors"), ARCH, tmp_path).infer(feeds)["latent"]
    assert relative_error(answer, reference(module, feeds)[0]) < 1e-5


def test_widening_runs_right_before_use(tmp_path: Path) -> None:
    """All casts come first in the file: that is what makes ONNX Runtime run each as late as it can."""
    header = tensors(network(ARCH)).to(torch.float16).write(tmp_path / "model.safetensors")
    operators = [node.op_type for node in onnx.load_model_from_string(bound(header, ARCH).model).graph.node]
    assert set(operators[: operators.count("Cast")]) == {"Cast"}
