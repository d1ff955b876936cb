"""From a spec to a servable that answers."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kit.errors import InvalidModel, InvalidRequest, NotFound, Stopped, Unsupported
from model_service.servables.folders import ServableFolders
from model_service.servables.spec import FileRef, LoraPatch, ServableSpec
from tests.unit.model_service.archs import tiny
from tests.unit.model_service.servables.checkpoints import LORA_TARGET, SIDES, UNET, Workplace, last


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    with closing(Workplace(tmp_path)) as place:
        place.write_checkpoint()
        place.write_lora()
        yield place


def _expected(patch: np.ndarray | None = None) -> np.ndarray:
    module = tiny.network(UNET)
    state = {name: value.half().float() for name, value in module.state_dict().items()}
    if patch is not None:
        state[LORA_TARGET] = state[LORA_TARGET] + torch.from_numpy(patch)
    module.load_state_dict(state)
    return tiny.reference(module, tiny.inputs(UNET, **SIDES))[0]


def test_every_component_of_a_checkpoint(place: Workplace) -> None:
    preparation = place.preparation()
    for component in ("unet", "text_encoder", "vae_decoder", "vae_encoder"):
        stages = list(preparation.prepare(place.spec(component)))
        assert [stage.name for stage in stages] == ["queued", "reading", "tracing", "loading", "ready"]
        assert [stage.fraction for stage in stages] == sorted(stage.fraction for stage in stages)
        prepared = last(stages)
        assert prepared.id.startswith(f"{component}-")
        assert prepared.endpoint == "here:1"
        assert prepared.facts
    out = place.infer(last(list(preparation.prepare(place.spec()))), tiny.inputs(UNET, **SIDES))["out"]
    assert tiny.relative_error(out, _expected()) < 1e-5


def test_a_second_time_is_only_looked_up(place: Workplace) -> None:
    preparation = place.preparation()
    first = last(list(preparation.prepare(place.spec())))
    stages = list(preparation.prepare(place.spec()))
    assert [stage.name for stage in stages] == ["queued", "reading", "loading", "ready"]
    assert last(stages) == first
    assert place.traced == [UNET]


def test_a_lora_changes_what_it_names_and_the_base_goes_on(place: Workplace) -> None:
    product = place.write_lora()
    preparation = place.preparation()
    base = last(list(preparation.prepare(place.spec())))
    stages = list(preparation.prepare(place.spec(lora=0.5)))
    assert "patching" in [stage.name for stage in stages]
    patched = last(stages)
    feeds = tiny.inputs(UNET, **SIDES)
    assert tiny.relative_error(place.infer(patched, feeds)["out"], _expected(0.5 * product)) < 1e-5
    assert tiny.relative_error(place.infer(base, feeds)["out"], _expected()) < 1e-5
    assert tiny.relative_error(_expected(0.5 * product), _expected()) > 1e-3


def test_ids_differ_with_everything_that_matters(place: Workplace) -> None:
    place.write_lora("other.safetensors", seed=6)
    preparation = place.preparation()
    a, b = (LoraPatch(place.file("loras", name), 0.5) for name in ("lora.safetensors", "other.safetensors"))
    stacks: list[tuple[LoraPatch, ...]] = [(), (a,), (replace(a, strength=-0.5),), (a, b), (b, a)]
    specs = [replace(place.spec(), patches=stack) for stack in stacks]
    ids = {last(list(preparation.prepare(spec))).id for spec in specs}
    assert len(ids) == len(specs)


def test_equal_content_under_another_name_is_the_same_servable(place: Workplace) -> None:
    os.link(place.root / "models/checkpoints/model.safetensors", place.root / "models/checkpoints/copy.safetensors")
    preparation = place.preparation()
    other = replace(place.spec(), file=place.file("checkpoints", "copy.safetensors"))
    assert last(list(preparation.prepare(place.spec()))).id == last(list(preparation.prepare(other))).id


def test_a_restarted_service_finds_what_was_bound(place: Workplace) -> None:
    place.write_lora()
    first = last(list(place.preparation().prepare(place.spec(lora=1.0))))
    with closing(Workplace(place.root)) as again:
        stages = list(again.preparation().prepare(again.spec(lora=1.0)))
    assert [stage.name for stage in stages] == ["queued", "reading", "loading", "ready"]
    assert last(stages) == first


def test_keys_that_name_nothing_are_told(place: Workplace) -> None:
    place.write_lora("lora.safetensors", stem="lora_te_text_model_encoder_layers_0_self_attn_q_proj")
    prepared = last(list(place.preparation().prepare(place.spec(lora=1.0))))
    assert any("self_attn_q_proj" in name for name in prepared.unmatched)


def test_a_changed_file_is_refused_before_and_after_loading(place: Workplace) -> None:
    preparation, spec = place.preparation(), place.spec()
    prepared = last(list(preparation.prepare(spec)))
    place.residency.release_idle()
    place.write_checkpoint(seed=1)
    with pytest.raises(NotFound) as caught:
        place.infer(prepared, tiny.inputs(UNET, **SIDES))
    assert caught.value.reason == "WEIGHTS_CHANGED"
    with pytest.raises(NotFound) as caught:
        list(preparation.prepare(spec))
    assert caught.value.reason == "WEIGHTS_CHANGED"
    assert last(list(preparation.prepare(place.spec()))).id != prepared.id


def test_an_evicted_servable_comes_back_by_itself(place: Workplace) -> None:
    prepared = last(list(place.preparation().prepare(place.spec())))
    assert place.residency.release_idle() == 1
    out = place.infer(prepared, tiny.inputs(UNET, **SIDES))["out"]
    assert tiny.relative_error(out, _expected()) < 1e-5


def test_one_spec_is_prepared_once_for_many_callers(place: Workplace) -> None:
    together = threading.Barrier(4, timeout=10)
    preparation = place.preparation()

    def prepare() -> str:
        together.wait()
        return last(list(preparation.prepare(place.spec()))).id

    with ThreadPoolExecutor(4) as pool:
        ids = {future.result(30) for future in [pool.submit(prepare) for _ in range(4)]}
    assert len(ids) == 1
    assert place.traced == [UNET]


def test_a_caller_that_leaves_does_not_stop_the_others(place: Workplace) -> None:
    entered, go_on = threading.Event(), threading.Event()
    inner = place.sources()

    def trace(*args: object) -> None:
        entered.set()
        assert go_on.wait(10)
        inner.trace(*args)  # type: ignore[arg-type]

    preparation = place.preparation(replace(inner, trace=trace))
    stages = preparation.prepare(place.spec(), entered.is_set)
    assert next(stages).name == "queued"
    assert entered.wait(10)
    leaving = preparation.prepare(place.spec(), lambda: False)
    with pytest.raises(Stopped):
        list(leaving)
    go_on.set()
    assert last(list(stages)).id


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "gone.safetensors"}, "WEIGHTS_NOT_FOUND"),
        ({"name": "../../secret"}, "WEIGHTS_NOT_FOUND"),
        ({"folder": "nowhere"}, "FOLDER_NOT_FOUND"),
        ({"digest": "0" * 64}, "WEIGHTS_CHANGED"),
    ],
)
def test_files_that_are_not_there(place: Workplace, change: dict[str, str], reason: str) -> None:
    spec = place.spec()
    with pytest.raises(NotFound) as caught:
        list(place.preparation().prepare(replace(spec, file=replace(spec.file, **change))))
    assert caught.value.reason == reason
    assert not list((place.cache / "servables").iterdir())


def test_a_component_that_the_file_lacks(place: Workplace) -> None:
    part = tiny.tensors(tiny.network("kl_vae_decoder")).under("first_stage_model.")
    part.write(place.root / "models/checkpoints/vae.safetensors")
    spec = replace(place.spec(), file=place.file("checkpoints", "vae.safetensors"))
    with pytest.raises(InvalidModel) as caught:
        list(place.preparation().prepare(spec))
    assert caught.value.reason == "COMPONENT_MISSING"


def test_specs_that_say_nothing() -> None:
    file = FileRef("checkpoints", "a", "0" * 64)
    with pytest.raises(InvalidRequest):
        ServableSpec("lung", file)
    with pytest.raises(InvalidRequest):
        ServableSpec("unet", replace(file, digest=""))
    with pytest.raises(Unsupported):
        ServableSpec("unet", file, precision="int3")
    with pytest.raises(InvalidRequest):
        ServableSpec("unet", file, (LoraPatch(file, float("nan")),))


def test_disk_space_is_bounded(place: Workplace) -> None:
    place.folders = ServableFolders(place.cache / "servables", limit_bytes=1)
    preparation = place.preparation()
    first = last(list(preparation.prepare(place.spec())))
    assert {path.name for path in (place.cache / "servables").iterdir()} == {first.id}  # in memory: it stays
    place.residency.release_idle()
    second = last(list(preparation.prepare(place.spec(lora=1.0))))
    assert {path.name for path in (place.cache / "servables").iterdir()} == {second.id}
    assert last(list(preparation.prepare(place.spec()))).id == first.id
