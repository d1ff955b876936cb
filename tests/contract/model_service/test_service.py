"""The wired model service over gRPC: files, Prepare, calls, residency, and the statuses of what is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from heliograph.common.v1 import file_pb2
from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as pb_grpc
from safetensors.numpy import save_file

from kit.errors import HeliographError, InvalidModel, InvalidRequest, NotFound, Unready, Unsupported
from kit.serve import channel_options
from kit.status import from_rpc_error
from model_service.app.main import build
from model_service.app.settings import ModelServiceSettings
from tests.contract.kserve.calls import tensor
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.servables.checkpoints import SIDES, Workplace

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models, and the graphs of the small networks as if they had been traced before."""
    folder = tmp_path_factory.mktemp("service")
    with closing(Workplace(folder)) as place:
        place.write_checkpoint()
        place.write_lora()
        for arch_id in tiny.CONFIGS:
            place.provide(arch_id)
    (folder / "models/embeddings").mkdir()
    save_file({"emb_params": np.ones((2, 64), np.float16)}, folder / "models/embeddings/word.safetensors")
    (folder / "models/vae").mkdir()
    save_file({"odd": np.ones(2, np.float32)}, folder / "models/vae/odd.safetensors", metadata={"title": "odd"})
    (folder / "data").mkdir()
    (folder / "cache").rename(folder / "data/cache")
    return folder


@pytest.fixture(scope="module")
def stub(folder: Path) -> Iterator[Any]:
    settings = ModelServiceSettings.load(
        data_dir=folder / "data", models_dir=folder / "models", model_address="127.0.0.1:0", compute_threads=1
    )
    built = build(settings)
    built.start()
    channel = grpc.insecure_channel(f"127.0.0.1:{built.server.port}", options=channel_options())
    stub = pb_grpc.ModelServiceStub(channel)
    stub.address = f"127.0.0.1:{built.server.port}"  # type: ignore[attr-defined]
    stub.channel = channel  # type: ignore[attr-defined]
    yield stub
    channel.close()
    built.stop(1)


def _file(folder: str, name: str, digest: str = "") -> file_pb2.FileRef:
    return file_pb2.FileRef(folder=folder, name=name, digest=digest)


CHECKPOINT = _file("checkpoints", "model.safetensors")


def _described(stub: Any, file: file_pb2.FileRef) -> pb.DescribeModelResponse:
    answer: pb.DescribeModelResponse = stub.DescribeModel(pb.DescribeModelRequest(file=file))
    return answer


def _prepared(stub: Any, component: str, *patches: pb.Patch) -> pb.Servable:
    file = _described(stub, CHECKPOINT).file.file
    spec = pb.ServableSpec(component=component, file=file, patches=patches)
    stages = list(stub.Prepare(pb.PrepareRequest(spec=spec)))
    assert [stage.HasField("servable") for stage in stages] == [False] * (len(stages) - 1) + [True]
    servable: pb.Servable = stages[-1].servable
    return servable


def _lora(stub: Any, strength: float) -> pb.Patch:
    file = _described(stub, _file("loras", "lora.safetensors")).file.file
    return pb.Patch(lora=pb.LoraPatch(file=file, strength=strength))


def _error(call: Any) -> HeliographError:
    with pytest.raises(grpc.RpcError) as caught:
        list(answer) if isinstance(answer := call(), grpc.Call) else answer
    return from_rpc_error(caught.value)


def test_health_and_reflection(stub: Any) -> None:
    health = health_pb2_grpc.HealthStub(stub.channel)
    assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING


def test_folders_and_files(stub: Any, folder: Path) -> None:
    folders = {one.name: one for one in stub.ListFolders(pb.ListFoldersRequest()).folders}
    assert str(folder / "models/checkpoints") in folders["checkpoints"].paths
    assert ".safetensors" in folders["checkpoints"].extensions
    (file,) = stub.ListModels(pb.ListModelsRequest(folder="checkpoints")).files
    assert (file.file.name, file.size_bytes) == (
        "model.safetensors",
        (folder / "models/checkpoints/model.safetensors").stat().st_size,
    )
    assert file.modified_s > 1e9
    error = _error(lambda: stub.ListModels(pb.ListModelsRequest(folder="nonsense")))
    assert (type(error), error.reason) == (NotFound, "FOLDER_NOT_FOUND")


def test_description_of_a_checkpoint(stub: Any) -> None:
    described = _described(stub, CHECKPOINT)
    assert (described.kind, described.family, described.precision) == ("checkpoint", "SD1.5", "F16")
    assert len(described.file.file.digest) == 64
    components = {one.component: one for one in described.components}
    assert set(components) == {"unet", "text_encoder", "vae_decoder", "vae_encoder"}
    assert json.loads(components["unet"].facts_json)["prediction"] == "eps"
    quick = stub.DescribeModel(pb.DescribeModelRequest(file=CHECKPOINT, skip_digest=True))
    assert quick.file.file.digest == ""
    assert _described(stub, _file("loras", "lora.safetensors")).kind == "lora"
    assert _described(stub, _file("embeddings", "word.safetensors")).kind == "embedding"


def test_metadata_of_what_is_not_served(stub: Any) -> None:
    file = _file("vae", "odd.safetensors")
    quick = stub.DescribeModel(pb.DescribeModelRequest(file=file, skip_digest=True))
    assert (dict(quick.metadata), quick.kind, list(quick.components)) == ({"title": "odd"}, "unknown", [])
    assert isinstance(_error(lambda: _described(stub, file)), Unsupported | InvalidModel)


@pytest.mark.parametrize("name", ["gone.safetensors", "../../etc/passwd", "/etc/passwd", ""])
def test_names_that_are_no_files(stub: Any, name: str) -> None:
    error = _error(lambda: _described(stub, _file("checkpoints", name)))
    assert (type(error), error.reason) == (NotFound, "WEIGHTS_NOT_FOUND")


def test_prepare_and_infer(stub: Any) -> None:
    base, patched = _prepared(stub, "unet"), _prepared(stub, "unet", _lora(stub, 0.7))
    assert base.id != patched.id
    assert next((one.name, one.datatype, list(one.shape)) for one in base.inputs) == ("x", "FP32", [-1, 4, -1, -1])
    feeds = tiny.inputs("sd15_unet", **SIDES)
    with closing(triton_grpc.InferenceServerClient(stub.address)) as client:
        inputs = [tensor(name, value) for name, value in feeds.items()]
        outs = [client.infer(one.id, inputs).as_numpy("out") for one in (base, patched)]
        wanted = tiny.reference(tiny.network("sd15_unet"), feeds)[0]
        assert tiny.relative_error(outs[0], wanted) < 1e-2  # the file is half precision
        assert tiny.relative_error(outs[1], outs[0]) > 1e-3
        assert client.get_inference_statistics(base.id).model_stats[0].execution_count == 1


def test_residency(stub: Any) -> None:
    servable = _prepared(stub, "vae_decoder")
    shown = stub.GetResidency(pb.GetResidencyRequest())
    assert shown.budget_bytes > shown.used_bytes > 0
    assert servable.id in [one.id for one in shown.residents]
    assert stub.ReleaseAll(pb.ReleaseAllRequest()).released >= 1
    assert not stub.GetResidency(pb.GetResidencyRequest()).residents
    feeds = tiny.inputs("kl_vae_decoder", batch=1, latent_height=2, latent_width=2)
    with closing(triton_grpc.InferenceServerClient(stub.address)) as client:
        assert client.infer(servable.id, [tensor("latent", feeds["latent"])]).as_numpy("image").shape == (1, 3, 4, 4)


def test_small_tensors(stub: Any) -> None:
    (read,) = stub.ReadTensors(pb.ReadTensorsRequest(file=_file("embeddings", "word.safetensors"))).tensors
    assert (read.name, read.dtype, list(read.shape)) == ("emb_params", "F16", [2, 64])
    np.testing.assert_array_equal(np.frombuffer(read.data, np.float16), 1)


def test_specs_that_cannot_be_prepared(stub: Any) -> None:
    file = _described(stub, CHECKPOINT).file.file

    def prepare(**spec: Any) -> HeliographError:
        return _error(lambda: stub.Prepare(pb.PrepareRequest(spec=pb.ServableSpec(**spec))))

    stale = _file("checkpoints", "model.safetensors", "0" * 64)
    for error, kind, reason in (
        (prepare(component="unet", file=stale), NotFound, "WEIGHTS_CHANGED"),
        (prepare(component="unet", file=CHECKPOINT), InvalidRequest, "DIGEST"),
        (prepare(component="lung", file=file), InvalidRequest, "COMPONENT"),
        (prepare(component="unet", file=file, precision="int2"), Unsupported, "PRECISION"),
        (prepare(component="unet", file=file, patches=[pb.Patch()]), Unsupported, "PATCH_KIND"),
    ):
        assert (type(error), error.reason) == (kind, reason)


def test_an_address_that_is_taken(folder: Path, stub: Any) -> None:
    settings = ModelServiceSettings.load(
        data_dir=folder / "second", models_dir=folder / "models", model_address=stub.address
    )
    with pytest.raises(Unready) as caught:
        build(settings)
    assert caught.value.reason == "ADDRESS_IN_USE"


def test_starting_imports_no_torch() -> None:
    code = "import sys, model_service.app.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=False).returncode == 0


def test_the_process_starts_and_drains(folder: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin", "HELIOGRAPH_DATA_DIR": str(folder / "data"), "OMP_NUM_THREADS": "1",
        "HELIOGRAPH_MODELS_DIR": str(folder / "models"), "HELIOGRAPH_MODEL_ADDRESS": "127.0.0.1:0",
    }  # fmt: skip
    command = (sys.executable, "-m", "model_service.app.main")
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("serving on" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_wrong_settings_say_what_is_wrong(tmp_path: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HELIOGRAPH_DATA_DIR": str(tmp_path), "HELIOGRAPH_SERVING": "magic"}
    command = (sys.executable, "-m", "model_service.app.main")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HELIOGRAPH_SERVING" in done.stderr
