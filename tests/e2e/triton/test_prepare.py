"""Prepare onto a real Triton: the same answers as the embedded engine, within the budget, and after Triton died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from kit.errors import Unready
from model_service.servables.hosts import Address, TritonHost
from model_service.servables.prepare import Preparation
from model_service.servables.residency import Occupant, Residency
from model_service.servables.spec import Prepared
from model_service.servables.triton import TritonControl
from tests.contract.kserve.calls import refused, tensor
from tests.contract.kserve.servers import Triton, triton
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.servables.checkpoints import SIDES, Workplace, last

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
COMPONENTS = {
    "unet": "sd15_unet",
    "text_encoder": "clip_l",
    "vae_decoder": "kl_vae_decoder",
    "vae_encoder": "kl_vae_encoder",
}
EVERY_SIDE = {**SIDES, "latent_height": 3, "latent_width": 4}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with closing(Workplace(tmp_path)) as place:
        place.write_checkpoint()
        place.write_lora()
        yield place


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Triton]:
    with triton(tmp_path) as server:
        yield server


def _on(server: Triton, place: Workplace, budget: int = 1 << 40) -> tuple[Preparation, Residency[Occupant]]:
    control = TritonControl(server.address, start_s=1)
    residency: Residency[Occupant] = Residency(budget, 30, control.last_inference_ms)
    host = TritonHost(control, server.writer, residency, Address(server.address, True))
    preparation = Preparation(place.sources(), host)
    place.opened.append(preparation)
    return preparation, residency


def _infer(server: Triton, prepared: Prepared, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with closing(triton_grpc.InferenceServerClient(server.address)) as client:
        result = client.infer(prepared.id, [tensor(name, value) for name, value in feeds.items()])
        return {spec.name: result.as_numpy(spec.name) for spec in prepared.signature.outputs}


def test_the_same_answers_as_the_embedded_engine(place: Workplace, server: Triton) -> None:
    there, _ = _on(server, place)
    here = place.preparation()
    for component, arch_id in COMPONENTS.items():
        for lora in (None, 0.6) if component == "unet" else (None,):
            spec = place.spec(component, lora)
            on_triton, embedded = (last(list(one.prepare(spec))) for one in (there, here))
            assert on_triton.id != embedded.id
            assert on_triton.endpoint == server.address
            feeds = tiny.inputs(arch_id, **EVERY_SIDE)
            wanted = place.infer(embedded, feeds)
            for name, values in _infer(server, on_triton, feeds).items():
                np.testing.assert_allclose(values, wanted[name], rtol=1e-5, atol=1e-5)


def test_the_budget_holds_in_triton_too(place: Workplace, server: Triton) -> None:
    preparation, residency = _on(server, place, budget=1)
    first, second = (last(list(preparation.prepare(place.spec(one)))) for one in ("unet", "vae_decoder"))
    assert [one.id for one in residency.all() if one.bytes] == [second.id]
    feeds = tiny.inputs("sd15_unet", **EVERY_SIDE)
    with refused("NOT_FOUND", "UNAVAILABLE"):
        _infer(server, first, feeds)
    assert last(list(preparation.prepare(place.spec()))) == first
    assert _infer(server, first, feeds)["out"].shape == (1, 4, 8, 8)
    assert [path.name for path in (place.root / "repository").iterdir()] == [first.id]


def test_what_triton_lost_is_loaded_again(place: Workplace, server: Triton) -> None:
    preparation, _ = _on(server, place)
    prepared = last(list(preparation.prepare(place.spec())))
    with closing(triton_grpc.InferenceServerClient(server.address)) as client:
        client.unload_model(prepared.id)  # as after a restart: it does not have it
    assert last(list(preparation.prepare(place.spec()))) == prepared
    _infer(server, prepared, tiny.inputs("sd15_unet", **EVERY_SIDE))


def test_a_restarted_service_takes_over(place: Workplace, server: Triton) -> None:
    preparation, _ = _on(server, place)
    old = last(list(preparation.prepare(place.spec("vae_decoder"))))
    again, residency = _on(server, place)
    new = last(list(again.prepare(place.spec())))
    with closing(triton_grpc.InferenceServerClient(server.address)) as client:
        assert client.is_model_ready(new.id)
        assert not client.is_model_ready(old.id)  # nobody counted its memory
    assert [one.id for one in residency.all() if one.bytes] == [new.id]


def test_without_triton_it_says_so(place: Workplace, server: Triton) -> None:
    preparation, _ = _on(server, place)
    server.process.kill()
    server.process.wait()
    with pytest.raises(Unready) as caught:
        list(preparation.prepare(place.spec()))
    assert caught.value.reason == "BACKEND_DOWN"
