"""The model service's and KServe v2 clients against real gRPC servers on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from heliograph.model.v1 import model_service_pb2 as pb
from heliograph.model.v1 import model_service_pb2_grpc as pb_grpc

from kit import errors
from kit.intercept import SyncErrors
from kit.serve import channel_options
from orchestrator.clients import kserve
from orchestrator.clients import models as model_client
from orchestrator.clients.kserve import Call, KServeClient
from orchestrator.clients.models import GrpcModels, ModelClientOptions
from orchestrator.values.models import FileRef, Lora, NetworkRef
from tests.support.kserve_server import Doubler, serve

X = np.random.default_rng(0).random((2, 4, 64, 64), np.float32)
NETWORK = NetworkRef("unet", FileRef("checkpoints", "a.safetensors", "d" * 64), "sd15_unet")


def nothing() -> None:
    """Not cancelled."""


def regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("heliograph-*")}


@pytest.fixture
def doubler() -> Iterator[tuple[Doubler, int]]:
    servicer = Doubler()
    server, port = serve(servicer)
    yield servicer, port
    server.stop(0)


def client(port: int, shared: bool) -> KServeClient:
    return KServeClient(f"127.0.0.1:{port}", shared_memory=shared, deadline_s=20)


@pytest.mark.parametrize("shared", [False, True])
def test_answers_are_the_same_either_way(doubler: tuple[Doubler, int], shared: bool) -> None:
    servicer, port = doubler
    before = regions()
    one = client(port, shared)
    for scale in (1, 2, 3):
        answer = one.infer(Call("double", {"x": X * scale}, ("out",)), nothing)
        assert np.array_equal(answer["out"], X * scale * 2)
        assert answer["out"].flags.writeable
    assert servicer.shared_outputs == (2 if shared else 0)  # the first answer tells the shape
    one.close()
    assert regions() == before
    assert servicer.regions == {}


def test_answers_keep_their_values_after_the_next_call(doubler: tuple[Doubler, int]) -> None:
    one = client(doubler[1], True)
    kept = [one.infer(Call("double", {"x": X * n}, ("out",)), nothing)["out"] for n in range(4)]
    assert all(np.array_equal(out, X * n * 2) for n, out in enumerate(kept))
    one.close()


def test_threads_do_not_mix_their_tensors(doubler: tuple[Doubler, int]) -> None:
    one = client(doubler[1], True)

    def work(n: int) -> bool:
        return all(
            np.array_equal(one.infer(Call("double", {"x": X * n}, ("out",)), nothing)["out"], X * n * 2)
            for _ in range(5)
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))
    one.close()


def test_small_tensors_go_by_message(doubler: tuple[Doubler, int]) -> None:
    servicer, port = doubler
    one = client(port, True)
    one.infer(Call("double", {"x": np.ones((2, 2), np.float32)}, ("out",)), nothing)
    assert servicer.regions == {}
    one.close()


def test_a_server_that_forgot_the_region_gets_it_again(doubler: tuple[Doubler, int]) -> None:
    servicer, port = doubler
    one = client(port, True)
    one.infer(Call("double", {"x": X}, ("out",)), nothing)
    servicer.regions.clear()
    assert np.array_equal(one.infer(Call("double", {"x": X}, ("out",)), nothing)["out"], X * 2)
    assert len(servicer.regions) == 1
    one.close()


def test_a_server_without_shared_memory_is_served_by_message(doubler: tuple[Doubler, int]) -> None:
    servicer, port = doubler
    servicer.refuse_regions = True
    before = regions()
    one = client(port, True)
    assert np.array_equal(one.infer(Call("double", {"x": X}, ("out",)), nothing)["out"], X * 2)
    one.close()
    assert regions() == before


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unready),
        (grpc.StatusCode.CANCELLED, errors.Unready),
        (grpc.StatusCode.NOT_FOUND, errors.NotFound),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidRequest),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.TooSlow),
        (grpc.StatusCode.INTERNAL, errors.Internal),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_statuses_become_typed_errors_and_no_region_stays(
    doubler: tuple[Doubler, int], status: grpc.StatusCode, error: type[Exception], shared: bool
) -> None:
    servicer, port = doubler
    before = regions()
    servicer.fail.append(status)
    one = client(port, shared)
    with pytest.raises(error):
        one.infer(Call("double", {"x": X}, ("out",)), nothing)
    one.close()
    assert regions() == before


def test_cancel_ends_the_call_and_drops_the_region_the_server_may_still_write(doubler: tuple[Doubler, int]) -> None:
    servicer, port = doubler
    servicer.hold = threading.Event()
    before = regions()
    one = client(port, True)

    def cancelled() -> None:
        if servicer.entered.is_set():
            raise errors.Stopped("the user stopped it")

    with pytest.raises(errors.Stopped, match="user"):
        one.infer(Call("double", {"x": X}, ("out",)), cancelled)
    assert regions() == before
    servicer.hold.set()
    servicer.hold = None
    assert np.array_equal(one.infer(Call("double", {"x": X}, ("out",)), nothing)["out"], X * 2)
    one.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_call_slower_than_the_last_one_can_still_be_cancelled(
    doubler: tuple[Doubler, int], monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    monkeypatch.setattr(kserve, "_QUICK_DEADLINE_S", 0.1)
    servicer, port = doubler
    before = regions()
    one = client(port, shared)
    for _ in range(3):
        one.infer(Call("double", {"x": X}, ("out",)), nothing)
    servicer.hold = threading.Event()

    def cancelled() -> None:
        raise errors.Stopped("the user stopped it")

    with pytest.raises(errors.Stopped, match="user"):
        one.infer(Call("double", {"x": X}, ("out",)), cancelled)
    assert servicer.calls == 5  # the last was asked twice
    servicer.hold.set()
    servicer.hold = None
    assert np.array_equal(one.infer(Call("double", {"x": X}, ("out",)), nothing)["out"], X * 2)
    one.close()
    assert regions() == before


def test_tensors_too_large_for_a_message_say_what_to_do(doubler: tuple[Doubler, int]) -> None:
    one = client(doubler[1], False)
    huge = {"out": ("FP32", (1, 3, 4096, 4096))}
    with pytest.raises(errors.Unsupported, match="tiled"):
        one.infer(Call("double", {"x": X}, ("out",), huge), nothing)
    one.close()


class Service(pb_grpc.ModelServiceServicer):
    """Answers with one servable; `fail` holds errors for the next Prepare calls."""

    def __init__(self, endpoint: str, doubler: Doubler) -> None:
        self.endpoint = endpoint
        self.doubler = doubler
        self.prepared: list[Any] = []
        self.fail: list[Exception] = []
        self.hold: threading.Event | None = None

    def Prepare(self, request: Any, context: Any) -> Iterator[Any]:
        self.prepared.append(request.spec)
        yield pb.PrepareResponse(stage="loading", fraction=0.5)
        if self.hold is not None:
            self.hold.wait(10)
        if self.fail:
            raise self.fail.pop(0)
        self.doubler.models.add("double")
        servable = pb.Servable(
            id="double", endpoint=self.endpoint, shared_memory=True, arch="sd15_unet", facts_json='{"in_channels": 4}',
            outputs=[pb.TensorSpec(name="out", datatype="FP32", shape=[-1])],
        )  # fmt: skip
        yield pb.PrepareResponse(stage="ready", fraction=1.0, servable=servable)

    def DescribeModel(self, request: Any, context: Any) -> Any:
        if request.file.name == "gone":
            raise errors.NotFound("no such file", reason="WEIGHTS_NOT_FOUND", name="gone")
        part = pb.Component(component="unet", arch="sd15_unet", facts_json='{"prediction": "eps"}')
        request.file.digest = "d" * 64
        return pb.DescribeModelResponse(
            file=pb.ModelFile(file=request.file), components=[part], kind="unet", family="SD1.5"
        )

    def ListModels(self, request: Any, context: Any) -> Any:
        file = {"folder": request.folder, "name": "sub/b.pt"}
        return pb.ListModelsResponse(files=[pb.ModelFile(file=file)])

    def ReadTensors(self, request: Any, context: Any) -> Any:
        data = np.array([[1.5, -2.0]], np.float16)
        return pb.ReadTensorsResponse(tensors=[pb.Tensor(name="emb", dtype="F16", shape=[1, 2], data=data.tobytes())])


@pytest.fixture
def service(doubler: tuple[Doubler, int]) -> Iterator[tuple[Service, str]]:
    servicer = Service(f"127.0.0.1:{doubler[1]}", doubler[0])
    server = grpc.server(ThreadPoolExecutor(8), options=channel_options(), interceptors=[SyncErrors("model")])
    pb_grpc.add_ModelServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0)


@pytest.fixture
def make(service: tuple[Service, str]) -> Iterator[Callable[..., GrpcModels]]:
    made: list[GrpcModels] = []

    def build(**options: Any) -> GrpcModels:
        made.append(GrpcModels(ModelClientOptions(service[1], **options)))
        return made[-1]

    yield build
    for models in made:
        models.close()


def test_describe_list_and_read(make: Callable[..., GrpcModels]) -> None:
    models = make()
    info = models.describe("checkpoints", "a.safetensors")
    assert info.file == FileRef("checkpoints", "a.safetensors", "d" * 64)
    assert info.components[0].facts["prediction"] == "eps"
    assert models.list_files("embeddings") == ("sub/b.pt",)
    read = models.read_tensors("embeddings", "b.pt")
    assert read["emb"].dtype == np.float32 and read["emb"].tolist() == [[1.5, -2.0]]
    with pytest.raises(errors.NotFound) as caught:
        models.describe("checkpoints", "gone")
    assert caught.value.reason == "WEIGHTS_NOT_FOUND" and caught.value.facts["name"] == "gone"


def test_prepare_is_asked_once_and_progress_is_heard(
    make: Callable[..., GrpcModels], service: tuple[Service, str]
) -> None:
    heard: list[tuple[str, float]] = []
    models = make().bound(nothing, lambda stage, share: heard.append((stage, share)))
    patched = NETWORK.patched(Lora(FileRef("loras", "l.safetensors", "e" * 64), -0.5))
    servable = models.prepare(patched)
    assert models.prepare(patched) is servable
    (spec,) = service[0].prepared
    assert spec.patches[0].lora.strength == -0.5 and spec.file.digest == "d" * 64
    assert servable.facts["in_channels"] == 4 and tuple(servable.outputs) == ("out",)
    assert heard == [("loading", 0.5)]


@pytest.mark.parametrize("shared_memory", ["auto", "off"])
def test_a_model_that_left_memory_is_prepared_again(
    make: Callable[..., GrpcModels], service: tuple[Service, str], doubler: tuple[Doubler, int], shared_memory: str
) -> None:
    models = make(shared_memory=shared_memory)
    servable = models.prepare(NETWORK)
    doubler[0].models.clear()
    assert np.array_equal(models.infer(servable, {"x": X})["out"], X * 2)
    assert len(service[0].prepared) == 2


def test_what_is_remembered_is_bounded(
    make: Callable[..., GrpcModels], service: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_client, "_REMEMBERED", 2)
    models = make()
    lora = FileRef("loras", "l.safetensors", "e" * 64)
    strengths = [NETWORK.patched(Lora(lora, strength)) for strength in (0.1, 0.2, 0.3)]
    for network in (*strengths, strengths[2], strengths[0]):
        models.prepare(network)
    assert len(service[0].prepared) == 4  # the last one was forgotten


def test_a_server_that_died_mid_call_does_not_fail_the_run(
    make: Callable[..., GrpcModels], service: tuple[Service, str]
) -> None:
    first = Doubler(hold=threading.Event())
    server, port = serve(first)
    service[0].endpoint, service[0].doubler = f"127.0.0.1:{port}", first
    models = make(restart_s=20)
    servable = models.prepare(NETWORK)
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(models.infer(servable, {"x": X})["out"]))
    caller.start()
    assert first.entered.wait(10)
    server.stop(0).wait()
    second = Doubler()
    again, _ = serve(second, f"127.0.0.1:{port}")
    caller.join(20)
    assert first.hold is not None
    first.hold.set()
    assert len(answers) == 1 and np.array_equal(answers[0], X * 2)
    assert second.calls >= 1 and len(service[0].prepared) == 2
    again.stop(0)


def test_a_server_that_stays_away_is_unready(make: Callable[..., GrpcModels], service: tuple[Service, str]) -> None:
    gone, port = serve(Doubler())
    service[0].endpoint = f"127.0.0.1:{port}"
    models = make(restart_s=0.2)
    servable = models.prepare(NETWORK)
    gone.stop(0).wait()
    with pytest.raises(errors.Unready, match="does not answer"):
        models.infer(servable, {"x": X})


def test_a_repeated_failure_is_told_after_one_more_try(
    make: Callable[..., GrpcModels], doubler: tuple[Doubler, int]
) -> None:
    models = make()
    servable = models.prepare(NETWORK)
    doubler[0].fail.extend([grpc.StatusCode.UNAVAILABLE] * 2)
    with pytest.raises(errors.Unready):
        models.infer(servable, {"x": X})
    assert doubler[0].calls == 2


def test_prepare_errors_come_through_typed(make: Callable[..., GrpcModels], service: tuple[Service, str]) -> None:
    service[0].fail.append(errors.Unsupported("no such family", reason="ARCH_UNKNOWN", family="sdxl"))
    with pytest.raises(errors.Unsupported) as caught:
        make().prepare(NETWORK)
    assert caught.value.facts["family"] == "sdxl"


def test_prepare_stops_with_the_run(make: Callable[..., GrpcModels], service: tuple[Service, str]) -> None:
    service[0].hold = threading.Event()
    stop = threading.Event()

    def cancelled() -> None:
        if stop.is_set():
            raise errors.Stopped("the user stopped it")

    with pytest.raises(errors.Stopped, match="user"):
        make().bound(cancelled, lambda stage, share: stop.set()).prepare(NETWORK)
    service[0].hold.set()


def test_a_model_service_that_is_not_there_is_unready() -> None:
    models = GrpcModels(ModelClientOptions("127.0.0.1:1", restart_s=0.1))
    with pytest.raises(errors.Unready):
        models.list_files("checkpoints")
    models.close()
