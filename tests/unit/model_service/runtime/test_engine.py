"""The engine behind its port: inputs are checked, cancelling works, what it opens it can close."""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from kit.errors import InvalidModel, InvalidRequest, Stopped
from model_service.runtime import engine, session
from model_service.runtime.engine import Cancellation, LoadedModel, OrtEngine
from model_service.runtime.recipe import recipe_for
from model_service.runtime.session import SessionRecipe, open_session, read_overlay
from tests.unit.model_service.archs.tiny import Tensors, inputs, network, reference, relative_error, tensors
from tests.unit.model_service.graphs.opened import bound, opened

ARCH = "kl_vae_decoder"
SIDES = {"batch": 2, "latent_height": 3, "latent_width": 4}


@pytest.fixture
def model(tmp_path: Path) -> LoadedModel:
    return opened(tensors(network(ARCH)).write(tmp_path / "model.safetensors"), ARCH, tmp_path)


def test_signature_and_memory(model: LoadedModel) -> None:
    assert [(one.name, one.dtype, one.shape) for one in model.inputs] == [
        ("latent", "FP32", ("batch", 4, "latent_height", "latent_width"))
    ]
    assert [one.name for one in model.outputs] == ["image"]
    assert model.mapped_bytes > 200_000
    assert 10_000 < model.memory_bytes < 100_000


@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"latent": np.zeros((1, 4, 2, 2), np.float64)},
        {"latent": np.zeros((1, 5, 2, 2), np.float32)},
        {"latent": np.zeros((4, 2, 2), np.float32)},
        {"latent": np.zeros((0, 4, 2, 2), np.float32)},
        {"latent": np.zeros((1, 4, 2, 2), np.float32), "more": np.zeros(1, np.float32)},
    ],
)
def test_wrong_inputs_are_refused(model: LoadedModel, feeds: dict[str, np.ndarray]) -> None:
    with pytest.raises(InvalidRequest):
        model.infer(feeds)


def test_sides_of_one_name_must_agree(tmp_path: Path) -> None:
    model = opened(tensors(network("clip_l")).write(tmp_path / "model.safetensors"), "clip_l", tmp_path)
    feeds = inputs("clip_l", batch=2)
    with pytest.raises(InvalidRequest) as caught:
        model.infer({**feeds, "embeds": feeds["embeds"][:1]})
    assert caught.value.facts["input"] == "embeds"


def test_outputs_can_be_chosen_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    model = opened(tensors(network("clip_l")).write(tmp_path / "model.safetensors"), "clip_l", tmp_path)
    assert list(model.infer(inputs("clip_l", batch=1), ["pooled"])) == ["pooled"]
    with pytest.raises(InvalidRequest):
        model.infer(inputs("clip_l", batch=1), ["image"])


def test_non_contiguous_inputs_are_right(model: LoadedModel) -> None:
    feeds = inputs(ARCH, **SIDES)
    turned = {"latent": np.asfortranarray(feeds["latent"])}
    np.testing.assert_array_equal(model.infer(turned)["image"], model.infer(feeds)["image"])


def test_a_cancelled_token_refuses_to_start(model: LoadedModel) -> None:
    token = Cancellation()
    token.cancel()
    with pytest.raises(Stopped):
        model.infer(inputs(ARCH, **SIDES), cancel=token)


def test_cancelling_stops_a_run(model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    token = Cancellation()
    begin = token.begin

    def begin_and_cancel(options: object) -> None:
        begin(options)
        thread = threading.Thread(target=token.cancel)
        thread.start()
        thread.join()

    monkeypatch.setattr(token, "begin", begin_and_cancel)
    with pytest.raises(Stopped):
        model.infer(inputs(ARCH, **SIDES), cancel=token)
    assert model.infer(inputs(ARCH, **SIDES), cancel=Cancellation())["image"].shape == (2, 3, 6, 8)


def test_threads_may_infer_at_once(model: LoadedModel) -> None:
    feeds = inputs(ARCH, **SIDES)
    wanted = model.infer(feeds)["image"]
    answers: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: answers.append(model.infer(feeds)["image"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert all(np.array_equal(answer, wanted) for answer in answers)


def test_a_closed_model_says_so(model: LoadedModel) -> None:
    model.close()
    with pytest.raises(InvalidRequest):
        model.infer(inputs(ARCH, **SIDES))


def test_broken_models_are_refused(tmp_path: Path) -> None:
    header = tensors(network(ARCH)).write(tmp_path / "model.safetensors")
    recipe = recipe_for(bound(header, ARCH), tmp_path / "model.onnx")
    for content in (b"", b"nonsense"):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(InvalidModel):
            OrtEngine().open(recipe)


def test_missing_and_truncated_weights_are_refused(tmp_path: Path) -> None:
    header = tensors(network(ARCH)).write(tmp_path / "model.safetensors")
    model = bound(header, ARCH)
    (tmp_path / "model.onnx").write_bytes(model.model)
    data = header.path.read_bytes()
    header.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidModel):
        OrtEngine().open(recipe_for(model, tmp_path / "model.onnx"))
    header.path.unlink()
    with pytest.raises(InvalidModel):
        OrtEngine().open(recipe_for(model, tmp_path / "model.onnx"))


def test_a_recipe_survives_json_and_opens_alone(tmp_path: Path) -> None:
    """As in Triton's Python backend: nothing but the recipe, with an overlay file and tensors at odd offsets."""
    module = network(ARCH)
    header = tensors(module).write(tmp_path / "model.safetensors", shift=2)
    changed = {"post_quant_conv.weight": torch.full((4, 4, 1, 1), 0.3, dtype=torch.bfloat16)}
    overlay = Tensors(changed).write(tmp_path / "overlay.safetensors")
    model = bound(header, ARCH, {"post_quant_conv.weight": ("BF16", np.zeros((4, 4, 1, 1), np.uint16))})
    (tmp_path / "model.onnx").write_bytes(model.model)
    recipe = recipe_for(model, tmp_path / "model.onnx", threads=1, overlay_path=overlay.path)
    again = SessionRecipe.from_json(recipe.to_json())
    assert again == recipe
    module.load_state_dict({name: value.float() for name, value in changed.items()}, strict=False)
    feeds = inputs(ARCH, **SIDES)
    answer = open_session(again).session.run(None, feeds)[0]
    assert relative_error(answer, reference(module, feeds)[0]) < 1e-5


@pytest.mark.parametrize("content", [b"", b"\x00" * 8, b"\xff" * 64, (9).to_bytes(8, "little") + b"{}"])
def test_broken_overlays_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "overlay.safetensors").write_bytes(content)
    with pytest.raises(ValueError):
        read_overlay(str(tmp_path / "overlay.safetensors"))


def test_the_session_module_stands_alone() -> None:
    allowed = {*sys.stdlib_module_names, "numpy", "onnxruntime"}
    tree = ast.parse(Path(session.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
    }
    assert imported <= allowed


def test_out_of_memory_is_a_busy_server() -> None:
    error = engine._typed(RuntimeError("bfc_arena Failed to allocate memory for requested buffer of size 1"), None)
    assert (type(error).__name__, error.reason) == ("Busy", "NO_MEMORY")
    assert type(engine._typed(RuntimeError("other"), None)).__name__ == "Internal"
