"""Folders of a Triton model repository: their configuration parses, their model needs nothing outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from google.protobuf import text_format
from safetensors.numpy import save_file
from tritonclient.grpc import model_config_pb2

from kit.errors import InvalidRequest
from model_service.archs.registry import arch
from model_service.archs.spec import Signature
from model_service.runtime.recipe import recipe_for
from model_service.runtime.session import SessionRecipe, open_session
from model_service.servables.repository import RepositoryWriter, Servable, TensorRT, TritonOptions, config_text
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.graphs.opened import bound

TEMPLATES = Path(__file__).resolve().parents[4] / "triton_repo"
ARCHS = tuple(tiny.CONFIGS)
GPU = TritonOptions("onnxruntime", gpu=True, instances=2, max_batch=8, queue_delay_us=500, tensorrt=TensorRT("FP16"))
OPTIONS = (TritonOptions(), TritonOptions("onnxruntime"), TritonOptions("onnxruntime", max_batch=4), GPU)


def _signature(arch_id: str) -> Signature:
    return arch(arch_id).tensors(tiny.CONFIGS[arch_id])


def _parsed(servable: Servable, options: TritonOptions) -> Any:
    return text_format.Parse(config_text(servable, options, TEMPLATES), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: f"{options.backend}-{options.max_batch}-{options.gpu}")
@pytest.mark.parametrize("arch_id", ARCHS)
def test_configurations_parse_and_say_what_the_network_is(arch_id: str, options: TritonOptions) -> None:
    signature = _signature(arch_id)
    config = _parsed(Servable("some-id", signature, SessionRecipe("m", "w", "")), options)
    assert (config.name, config.backend) == ("some-id", options.backend)
    batched = bool(config.max_batch_size)
    assert batched == (bool(options.max_batch) and arch_id.startswith("kl_vae"))
    assert config.HasField("dynamic_batching") == batched
    for specs, shown in ((signature.inputs, config.input), (signature.outputs, config.output)):
        assert [one.name for one in shown] == [spec.name for spec in specs]
        for spec, one in zip(specs, shown, strict=True):
            assert model_config_pb2.DataType.Name(one.data_type) == f"TYPE_{spec.dtype}"
            dims = [-1 if isinstance(side, str) else side for side in spec.shape]
            assert list(one.dims) == dims[batched:]
            assert one.dims
    (group,) = config.instance_group
    kind = config.instance_group[0].Kind.Name(group.kind)
    assert (group.count, kind) == (options.instances, "KIND_GPU" if options.gpu else "KIND_CPU")


def test_tensorrt_stanza() -> None:
    config = _parsed(Servable("v", _signature("kl_vae_decoder"), SessionRecipe("m", "w", "")), GPU)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["precision_mode"] == "FP16"
    assert int(accelerator.parameters["max_workspace_size_bytes"]) == 1 << 30
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    plain = _parsed(Servable("v", _signature("kl_vae_decoder"), SessionRecipe("m", "w", "")), OPTIONS[1])
    assert not plain.optimization.HasField("execution_accelerators")


def test_python_environment_is_quoted() -> None:
    options = TritonOptions(environment='/a "quoted" place')
    config = _parsed(Servable("v", _signature("clip_l"), SessionRecipe("m", "w", "")), options)
    assert config.parameters["EXECUTION_ENV_PATH"].string_value == '/a "quoted" place'


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(InvalidRequest):
        TritonOptions("python", gpu=True)
    with pytest.raises(InvalidRequest):
        TritonOptions("onnxruntime", tensorrt=TensorRT())


def test_the_engine_is_part_of_the_identity(tmp_path: Path) -> None:
    engines = {RepositoryWriter(tmp_path, TEMPLATES, options).engine for options in OPTIONS}
    assert engines == {"triton-python-cpu", "triton-onnxruntime-cpu", "triton-onnxruntime-gpu-tensorrt-fp16"}
    assert RepositoryWriter(tmp_path, TEMPLATES, GPU).options.portable


def _bound_with_everything(folder: Path) -> tuple[Servable, np.ndarray, dict[str, np.ndarray]]:
    """A network with a replaced tensor and tensors at places that cannot be mapped; what it answers, and to what."""
    arch_id = "kl_vae_decoder"
    folder.mkdir()
    whole = tiny.tensors(tiny.network(arch_id)).to(torch.float16)
    header = whole.write(folder / "my model.safetensors", shift=1)
    name = "decoder.conv_in.weight"
    values = np.random.default_rng(3).standard_normal(tuple(whole.values[name].shape), dtype=np.float32)
    model = bound(header, arch_id, {name: ("F32", values)})
    assert model.copied
    save_file({name: values}, folder / "overlay.safetensors")
    (folder / "model.onnx").write_bytes(model.model)
    recipe = recipe_for(model, folder / "model.onnx", threads=1, overlay_path=folder / "overlay.safetensors")
    feeds = tiny.inputs(arch_id, batch=1, latent_height=2, latent_width=3)
    (wanted,) = open_session(recipe).session.run(None, feeds)
    return Servable("vae", _signature(arch_id), recipe), wanted, feeds


@pytest.mark.parametrize("options", OPTIONS[:2], ids=lambda options: options.backend)
def test_a_folder_is_complete(tmp_path: Path, options: TritonOptions) -> None:
    servable, wanted, feeds = _bound_with_everything(tmp_path / "source")
    written = RepositoryWriter(tmp_path / "repository", TEMPLATES, options).write(servable)
    for remains in (tmp_path / "source").iterdir():
        remains.unlink()
    moved = written.rename(tmp_path / "elsewhere")
    assert not any(path.is_symlink() for path in moved.rglob("*"))
    session = ort.InferenceSession(str(moved / "1/model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, feeds)[0], wanted, rtol=1e-5, atol=1e-5)
    onnx.checker.check_model(str(moved / "1/model.onnx"))
    assert (moved / "1/model.py").exists() == (options.backend == "python")
    text_format.Parse((moved / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_weights_are_linked_and_copied_only_across_file_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch_id = "kl_vae_decoder"
    header = tiny.tensors(tiny.network(arch_id)).write(tmp_path / "w.safetensors")
    model = bound(header, arch_id)
    (tmp_path / "model.onnx").write_bytes(model.model)
    servable = Servable("vae", _signature(arch_id), recipe_for(model, tmp_path / "model.onnx"))
    writer = RepositoryWriter(tmp_path / "repository", TEMPLATES, TritonOptions("onnxruntime"))
    source = (tmp_path / "w.safetensors").stat()
    assert (writer.write(servable) / "1/weights").stat().st_ino == source.st_ino

    def across(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    copied = (writer.write(servable) / "1/weights").stat()
    assert (copied.st_ino != source.st_ino, copied.st_size) == (True, source.st_size)


@pytest.mark.parametrize("broken", ["model", "template"])
def test_a_folder_is_whole_or_not_there(tmp_path: Path, broken: str) -> None:
    servable, _, _ = _bound_with_everything(tmp_path / "source")
    templates = tmp_path / "none" if broken == "template" else TEMPLATES
    writer = RepositoryWriter(tmp_path / "repository", templates, TritonOptions())
    if broken == "model":
        (tmp_path / "source/model.onnx").unlink()
    with pytest.raises((FileNotFoundError, jinja2.TemplateNotFound)):
        writer.write(servable)
    assert not list((tmp_path / "repository").iterdir())


def test_only_own_folders_are_removed(tmp_path: Path) -> None:
    servable, _, _ = _bound_with_everything(tmp_path / "source")
    writer = RepositoryWriter(tmp_path / "repository", TEMPLATES, TritonOptions())
    writer.write(servable)
    (tmp_path / "repository/theirs").mkdir()
    assert writer.owns("vae")
    assert not writer.owns("theirs")
    writer.remove("theirs")
    writer.remove("vae")
    assert [path.name for path in (tmp_path / "repository").iterdir()] == ["theirs"]
