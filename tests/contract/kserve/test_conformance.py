"""KServe v2 as the stock client sees it: one suite for the embedded server and for a real Triton."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from tests.contract.kserve import networks
from tests.contract.kserve.calls import affine_inputs, images, refused, tensor
from tests.contract.kserve.conftest import Bench
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.graphs.opened import bound


def test_server_is_live_and_ready(bench: Bench) -> None:
    assert bench.client.is_server_live()
    assert bench.client.is_server_ready()
    metadata = bench.client.get_server_metadata()
    assert metadata.name
    assert metadata.version
    assert {"model_repository", "system_shared_memory", "statistics", "binary_tensor_data"} <= set(metadata.extensions)


def test_model_metadata(bench: Bench, affine: str) -> None:
    assert bench.client.is_model_ready(affine)
    assert not bench.client.is_model_ready("nobody")
    metadata = bench.client.get_model_metadata(affine)
    assert metadata.name == affine
    assert list(metadata.versions) == ["1"]
    assert [(one.name, one.datatype, list(one.shape)) for one in metadata.inputs] == [
        ("x", "FP32", [-1, 4, -1, -1]),
        ("ids", "INT64", [-1]),
    ]
    assert {(one.name, one.datatype, tuple(one.shape)) for one in metadata.outputs} == {
        ("out", "FP32", (-1, 4, -1, -1)),
        ("sum", "FP32", (-1, 4, -1, -1)),
    }


def test_model_config(bench: Bench, affine: str) -> None:
    config = bench.client.get_model_config(affine).config
    assert config.name == affine
    assert config.max_batch_size == 0
    assert [(one.name, list(one.dims)) for one in config.input] == [("x", [-1, 4, -1, -1]), ("ids", [-1])]


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (2, 3, 5), (5, 64, 33)])
def test_infer_with_any_sides(bench: Bench, affine: str, batch: int, height: int, width: int) -> None:
    x = images(batch, height, width)
    result = bench.client.infer(affine, affine_inputs(x), request_id="mine")
    assert result.get_response().id == "mine"
    assert result.get_response().model_version == "1"
    np.testing.assert_allclose(result.as_numpy("out"), 2 * x + np.arange(batch).reshape(-1, 1, 1, 1), rtol=1e-6)
    np.testing.assert_array_equal(result.as_numpy("sum"), x + x)


def test_only_the_outputs_that_were_asked_for(bench: Bench, affine: str) -> None:
    outputs = [triton_grpc.InferRequestedOutput("sum")]
    result = bench.client.infer(affine, affine_inputs(images()), outputs=outputs)
    assert [one.name for one in result.get_response().outputs] == ["sum"]


def test_a_message_of_many_megabytes(bench: Bench, affine: str) -> None:
    x = images(1, 1024, 1024)  # 16 MiB, twice that back
    np.testing.assert_array_equal(bench.client.infer(affine, affine_inputs(x)).as_numpy("sum"), x + x)


@pytest.mark.parametrize("datatype", networks.PLAIN_TYPES)
def test_data_types(bench: Bench, datatype: str) -> None:
    name = bench.load(networks.same(bench.folder, datatype))
    values = (np.arange(12) % 2 if datatype == "BOOL" else np.arange(12)).reshape(3, 4)
    x = values.astype(triton_to_np_dtype(datatype))
    out = bench.client.infer(name, [tensor("x", x)]).as_numpy("out")
    assert np_to_triton_dtype(out.dtype) == datatype
    np.testing.assert_array_equal(out, x)
    bench.client.unload_model(name)


def test_typed_contents(bench: Bench, affine: str) -> None:
    """What clients send that know no raw contents."""
    message = triton_grpc.service_pb2.ModelInferRequest(model_name=affine)
    x = images(1, 2, 2)
    given = message.inputs.add(name="x", datatype="FP32", shape=x.shape)
    given.contents.fp32_contents.extend(x.reshape(-1).tolist())
    given = message.inputs.add(name="ids", datatype="INT64", shape=[1])
    given.contents.int64_contents.append(7)
    answer = bench.client._client_stub.ModelInfer(message)
    place = [output.name for output in answer.outputs].index("out")
    out = np.frombuffer(answer.raw_output_contents[place], np.float32).reshape(x.shape)
    np.testing.assert_allclose(out, 2 * x + 7, rtol=1e-6)


def test_a_bound_network_of_ours(bench: Bench) -> None:
    """Weights in the user's own file, half precision, bound and not copied."""
    arch = "kl_vae_decoder"
    module = tiny.network(arch)
    header = tiny.tensors(module).write(bench.folder / "vae.safetensors")
    model = bound(header, arch)
    path = bench.folder / "vae.onnx"
    path.write_bytes(model.model)
    from model_service.archs.registry import arch as find
    from model_service.runtime.recipe import recipe_for

    signature = find(arch).tensors(tiny.CONFIGS[arch])
    name = bench.load(networks.Network("vae", signature, recipe_for(model, path, threads=1)))
    feeds = tiny.inputs(arch, batch=1, latent_height=3, latent_width=4)
    out = bench.client.infer(name, [tensor(key, value) for key, value in feeds.items()]).as_numpy("image")
    assert tiny.relative_error(out, tiny.reference(module, feeds)[0]) < 1e-5


class TestRefusals:
    """Statuses of what is wrong; none of it harms the calls after it."""

    @pytest.fixture(autouse=True)
    def _still_works(self, bench: Bench, affine: str) -> object:
        yield
        x = images()
        np.testing.assert_array_equal(bench.client.infer(affine, affine_inputs(x)).as_numpy("sum"), x + x)

    def test_unknown_model(self, bench: Bench) -> None:
        with refused("NOT_FOUND"):
            bench.client.infer("nobody", affine_inputs(images()))
        with refused("NOT_FOUND"):
            bench.client.get_model_metadata("nobody")
        with refused("NOT_FOUND"):
            bench.client.get_model_config("nobody")
        with refused("NOT_FOUND", "INVALID_ARGUMENT"):
            bench.client.get_inference_statistics("nobody")

    def test_unknown_version(self, bench: Bench, affine: str) -> None:
        with refused("NOT_FOUND"):
            bench.client.infer(affine, affine_inputs(images()), model_version="7")

    @pytest.mark.parametrize("name", ["nobody", "../affine", "/etc", "", "affine/1"])
    def test_loading_what_was_never_prepared(self, bench: Bench, name: str) -> None:
        with refused("NOT_FOUND", "INTERNAL", "INVALID_ARGUMENT"):
            bench.client.load_model(name)

    def test_missing_input(self, bench: Bench, affine: str) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, affine_inputs(images())[:1])

    def test_input_with_another_name(self, bench: Bench, affine: str) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, [*affine_inputs(images()), tensor("y", images())])

    def test_unknown_output(self, bench: Bench, affine: str) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, affine_inputs(images()), outputs=[triton_grpc.InferRequestedOutput("none")])

    @pytest.mark.parametrize("shape", [(2, 3, 3, 5), (4, 3, 5), (2, 4, 3, 5, 1)])
    def test_wrong_shape(self, bench: Bench, affine: str, shape: tuple[int, ...]) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, [tensor("x", np.ones(shape, np.float32)), tensor("ids", np.arange(2))])

    def test_sides_that_contradict_each_other(self, bench: Bench, affine: str) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, [tensor("x", images(2)), tensor("ids", np.arange(3))])

    def test_wrong_data_type(self, bench: Bench, affine: str) -> None:
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, [tensor("x", images().astype(np.float16)), tensor("ids", np.arange(2))])

    def test_contents_of_another_size(self, bench: Bench, affine: str) -> None:
        given = affine_inputs(images())
        given[0]._raw_content = b"\0" * 12
        with refused("INVALID_ARGUMENT"):
            bench.client.infer(affine, given)


def test_statistics_advance(bench: Bench) -> None:
    name = bench.load(networks.affine(bench.folder, "counted"))
    assert _counted(bench, name, 0).execution_count == 0
    spent = 0
    for calls in (1, 2, 3):
        bench.client.infer(name, affine_inputs(images(3)))
        shown = _counted(bench, name, calls)
        assert (shown.name, shown.execution_count) == (name, calls)
        assert shown.inference_count >= calls
        assert shown.last_inference > 0
        for part in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
            assert getattr(shown.inference_stats, part).count == calls, part
        assert shown.inference_stats.compute_infer.ns > spent
        assert shown.inference_stats.success.ns >= shown.inference_stats.compute_infer.ns
        spent = shown.inference_stats.compute_infer.ns
    bench.client.unload_model(name)


def _counted(bench: Bench, name: str, calls: int) -> Any:
    """Statistics once they tell of so many calls: Triton counts a call just after it answered it."""
    deadline = time.monotonic() + 10
    while True:
        shown = bench.client.get_inference_statistics(name).model_stats[0]
        if shown.execution_count >= calls or time.monotonic() > deadline:
            return shown
        time.sleep(0.01)


def test_repository(bench: Bench) -> None:
    name = bench.load(networks.affine(bench.folder, "comes-and-goes"))
    x = images()
    for _ in range(2):
        assert ("comes-and-goes", "READY") in _index(bench)
        assert bench.client.is_model_ready(name)
        bench.client.infer(name, affine_inputs(x))
        bench.client.unload_model(name)
        assert ("comes-and-goes", "READY") not in _index(bench)
        assert not bench.client.is_model_ready(name)
        with refused("NOT_FOUND", "UNAVAILABLE"):
            bench.client.infer(name, affine_inputs(x))
        bench.client.load_model(name)
    bench.client.load_model(name)  # once more is no error
    bench.client.unload_model(name)
    bench.client.unload_model("nobody")


def _index(bench: Bench) -> set[tuple[str, str]]:
    return {(model.name, model.state) for model in bench.client.get_model_repository_index().models}
