"""Nodes of another process, through a real front and worker."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from heliograph.graph.v1 import run_service_pb2 as pb
from PIL import Image

from kit.errors import InvalidPrompt, Unready
from kit.status import from_rpc_error
from tests.support.providers import Place, place, provider_process
from tests.support.stack import free_ports

Prompt = dict[str, Any]


@pytest.fixture
async def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
async def here(tmp_path: Path, port: int) -> AsyncIterator[Place]:
    with provider_process(port, tmp_path):
        async with place(tmp_path, f"127.0.0.1:{port}") as found:
            await found.knows("TInvert")
            yield found


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def marks(here: Place, name: str) -> int:
    path = here.data.parent / name
    return len(path.read_text()) if path.exists() else 0


RED = n("EmptyImage", width=16, height=16, batch_size=1, color=0xFF0000)


def saved(here: Place, shown: Any) -> Any:
    (file,) = shown["images"]
    with Image.open(here.data / file["type"] / file["subfolder"] / file["filename"]) as picture:
        return np.asarray(picture)


async def test_the_catalogue_has_the_nodes_and_a_run_gives_the_right_picture(here: Place) -> None:
    info = (await here.object_info("TInvert"))["TInvert"]
    assert info["input"] == {"required": {"image": ["IMAGE"]}} and info["category"] == "test"
    ended = await here.run({"1": RED, "2": n("TInvert", image=["1", 0]), "3": n("PreviewImage", images=["2", 0])})
    assert ended.succeeded and saved(here, ended.outputs["3"])[0, 0].tolist() == [0, 255, 255]
    assert [(e.node_id, e.value, e.max) for e in ended.of("progress")] == [("2", 1, 2), ("2", 2, 2)]
    assert [(e.media_type, e.image) for e in ended.of("preview")] == [("image/png", b"picture")]
    assert ended.executed == ["1", "2", "3"]


async def test_a_class_that_is_there_already_is_refused(here: Place) -> None:
    assert "width" in (await here.object_info("EmptyImage"))["EmptyImage"]["input"]["required"]


async def test_wrong_inputs_are_refused_like_ours(here: Place) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit({"1": n("TInvert"), "2": n("TShow", value=["1", 0])})
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidPrompt) and error.body is not None
    assert error.body["node_errors"]["1"]["errors"][0]["type"] == "required_input_missing"  # type: ignore[index]


async def test_results_come_from_the_cache(here: Place) -> None:
    prompt = {"1": n("TCount", value=3), "2": n("TShow", value=["1", 0])}
    first, second = await here.run(prompt), await here.run(prompt)
    assert first.outputs == second.outputs == {"2": {"text": ["3"]}}
    assert list(second.of("cached")[0].node_ids) == ["1", "2"] and marks(here, "count") == 1


async def test_a_fingerprint_equal_to_nothing_runs_every_time(here: Place) -> None:
    prompt = {"1": n("TAlways", value=3), "2": n("TShow", value=["1", 0])}
    await here.run(prompt)
    assert (await here.run(prompt)).executed == ["1", "2"] and marks(here, "always") == 2


async def test_a_fingerprint_that_is_the_same_does_not_run_again(here: Place) -> None:
    prompt = {"1": n("TFile", value=3), "2": n("TShow", value=["1", 0])}
    file = here.data.parent / "file"
    file.write_text("one")
    assert (await here.run(prompt)).executed == ["1", "2"] and (await here.run(prompt)).executed == []
    file.write_text("two")
    assert (await here.run(prompt)).executed == ["1", "2"] and (await here.run(prompt)).executed == []
    file.unlink()  # a fingerprint that fails is equal to nothing, as in ComfyUI
    assert (await here.run(prompt)).executed == ["1", "2"] and (await here.run(prompt)).executed == ["1", "2"]


async def test_only_the_lazy_input_that_is_asked_for_runs(here: Place) -> None:
    prompt: Prompt = {
        "a": n("TCount", value=1), "b": n("TAlways", value=2),
        "s": n("TSwitch", flag=False, first=["a", 0], second=["b", 0]), "t": n("TShow", value=["s", 0]),
    }  # fmt: skip
    ended = await here.run(prompt)
    assert ended.outputs["t"] == {"text": ["2"]} and ended.executed == ["s", "b", "s", "t"]


async def test_a_node_expands_into_others(here: Place) -> None:
    prompt = {"1": RED, "2": n("TRepeat", image=["1", 0], times=3), "3": n("PreviewImage", images=["2", 0])}
    ended = await here.run(prompt)
    assert saved(here, ended.outputs["3"])[0, 0].tolist() == [0, 255, 255] and marks(here, "invert") == 3
    assert ended.executed == ["1", "2", "2.0.0.0", "2.0.0.1", "2.0.0.2", "3"]
    assert {e.display_node_id for e in ended.of("executing")} == {"1", "2", "3"}
    again = await here.run(prompt)
    assert again.executed == [] and marks(here, "repeat") == 1


async def test_its_own_error_is_told(here: Place) -> None:
    failure = (await here.run({"1": n("TFail", text="it is broken")})).failure
    assert (failure.node_id, failure.node_type) == ("1", "TFail")
    assert failure.exception_type.endswith("OddTrouble") and failure.exception_message == "it is broken\n"
    assert not failure.traceback


async def test_its_traceback_is_told_where_debugging_is_on(tmp_path: Path, port: int) -> None:
    with provider_process(port, tmp_path):
        async with place(tmp_path, f"127.0.0.1:{port}", debug_errors=True) as here:
            await here.knows("TFail")
            failure = (await here.run({"1": n("TFail", text="x")})).failure
            assert "raise OddTrouble(text)" in failure.traceback[-1]


async def test_undeclared_links_hidden_inputs_and_links_of_any_type(here: Place) -> None:
    ended = await here.run({
        "1": n("TCount", value=1), "2": n("TCount", value=2), "3": n("TAddAll", first=4, a=["1", 0], b=["2", 0]),
        "4": n("TShow", value=["3", 0]), "5": n("TAnything", value=["3", 0]), "6": n("TNothing", value=9),
        "7": n("TAddAll", first=["6", 0]), "8": n("TShow", value=["7", 0]), "9": n("TSees"),
    })  # fmt: skip
    assert ended.succeeded, ended.of("failed")
    assert [ended.outputs[key]["text"] for key in "458"] == [["7"], ["7"], ["9"]]
    ids = [str(number) for number in range(1, 10)]
    assert ended.outputs["9"]["text"] == ["9", ids, ids, None]


@pytest.mark.parametrize("kind", ["TSlow", "TSlowAsync"])
async def test_cancel_reaches_the_provider(kind: str, here: Place) -> None:
    run_id = await here.submit({"1": n(kind, seconds=60), "2": n("TShow", value=["1", 0])})
    await until(lambda: marks(here, "slow-began"))
    await here.front.runs.CancelRun(pb.CancelRunRequest(run_ids=[run_id]))
    events = await asyncio.wait_for(here.front.ended(run_id), 10)
    assert "interrupted" in {event.WhichOneof("event") for event in events}
    await until(lambda: marks(here, "slow-cancelled"))
    assert (await here.run({"1": n("TCount", value=1), "2": n("TShow", value=["1", 0])})).succeeded


@pytest.mark.parametrize("kind", ["TSlow", "TSlowAsync"])
async def test_a_deadline_ends_a_node_that_hangs(kind: str, tmp_path: Path, port: int) -> None:
    with provider_process(port, tmp_path):
        async with place(tmp_path, f"127.0.0.1:{port}", node_timeout_s=0.5) as here:
            await here.knows(kind)
            failure = (await here.run({"1": n(kind, seconds=60), "2": n("TShow", value=["1", 0])})).failure
            assert (failure.exception_type, failure.reason) == ("TooSlow", "NODE_DEADLINE")
            assert "HELIOGRAPH_NODE_TIMEOUT_S" in failure.exception_message
            await until(lambda: marks(here, "slow-cancelled"))


@pytest.mark.timeout(45)
async def test_a_provider_that_dies_fails_the_run_and_the_next_works(tmp_path: Path, port: int) -> None:
    prompt = {"1": n("TMake", number=40), "2": n("TUse", thing=["1", 0], plus=2), "3": n("TShow", value=["2", 0])}
    async with place(tmp_path, f"127.0.0.1:{port}") as here:
        with provider_process(port, tmp_path) as process:
            await here.knows("TSlow")
            assert (await here.run(prompt)).outputs["3"] == {"text": ["42"]}
            running = asyncio.create_task(here.run({"1": n("TSlow", seconds=60), "2": n("TShow", value=["1", 0])}))
            await until(lambda: marks(here, "slow-began"))
            process.kill()
            failure = (await running).failure
            assert (failure.exception_type, failure.reason) == ("Unready", "PROVIDER_LOST")
            await until(lambda: not here.executor.nodes._links[0].here)
            assert await here.object_info("TMake")
            away = (await here.run({"1": n("TCount", value=7), "2": n("TShow", value=["1", 0])})).failure
            assert (away.exception_type, away.reason) == ("Unready", "PROVIDER_AWAY")
        with provider_process(port, tmp_path):
            await until(lambda: here.executor.nodes._links[0].here)
            # The object that node 1 gave is gone: it is made again, and what needs no object comes from the cache.
            changed = {**prompt, "2": n("TUse", thing=["1", 0], plus=3)}
            ended = await here.run(changed)
            assert ended.outputs["3"] == {"text": ["43"]} and ended.executed == ["1", "2", "3"]
            assert marks(here, "make") == 2


async def test_objects_are_let_go_with_the_cache(here: Place) -> None:
    ended = await here.run(
        {"1": n("TMake", number=1), "2": n("TUse", thing=["1", 0], plus=2), "3": n("TShow", value=["2", 0])}
    )
    assert ended.succeeded
    link = here.executor.nodes._links[0]
    told: list[str] = []
    inner = link.stub.Release

    def release(request: Any, **more: Any) -> Any:
        told.extend(request.handle_ids)
        return inner(request, **more)

    link.stub.Release = release
    here.executor.engine.cache.clear()
    gc.collect()
    await until(lambda: len(told) == 1)


async def test_custom_validation_tells_all_at_once(here: Place) -> None:
    prompt = {
        "1": n("TEven", value=5), "2": n("TEven", value=8), "3": n("TEven", value="x"), "4": n("TShow", value=["1", 0]),
        "5": n("TShow", value=["2", 0]), "6": n("TShow", value=["3", 0]), "7": n("TEven", value=2, image=["1", 0]),
        "8": n("TShow", value=["7", 0]),
    }  # fmt: skip
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit({key: prompt[key] for key in ("1", "3", "4", "6", "7", "8")})
    body = from_rpc_error(caught.value).body  # type: ignore[attr-defined]
    errors = {key: [e["type"] for e in entry["errors"]] for key, entry in body["node_errors"].items()}
    assert errors["1"] == ["custom_validation_failed"]
    assert errors["3"] == ["invalid_input_type", "custom_validation_failed"]
    assert errors["7"] == ["custom_validation_failed"] * 2
    told = body["node_errors"]["1"]["errors"][0]
    assert told == {
        "type": "custom_validation_failed", "message": "Custom validation failed for node",
        "details": "value - 5 is odd", "extra_info": {"input_name": "value"},
    }  # fmt: skip
    # 8 is above the declared limit: the class validates that input by itself.
    assert (await here.run({key: prompt[key] for key in ("2", "5")})).outputs["5"] == {"text": ["8"]}


async def test_nobody_validates_for_a_provider_that_is_away(tmp_path: Path, port: int) -> None:
    async with place(tmp_path, f"127.0.0.1:{port}") as here:
        with provider_process(port, tmp_path):
            await here.knows("TEven")
        await until(lambda: not here.front.front.nodes._links[0].here)
        with pytest.raises(grpc.RpcError) as caught:
            await here.submit({"1": n("TEven", value=2), "2": n("TShow", value=["1", 0])})
        error = from_rpc_error(caught.value)
        assert isinstance(error, Unready) and error.reason == "PROVIDER_AWAY"


async def test_a_blocker_stops_what_is_behind_it(here: Place) -> None:
    ended = await here.run({
        "1": RED, "2": n("TBlock", image=["1", 0], stop=True), "3": n("PreviewImage", images=["2", 0]),
        "4": n("TShow", value=["1", 0]),
    })  # fmt: skip
    assert ended.succeeded and "3" not in ended.outputs
    (told,) = ended.of("failed")
    assert (told.exception_type, told.exception_message) == ("ExecutionBlocked", "Execution Blocked: no picture today")


async def test_latents_come_back_as_latents_and_what_came_in_comes_back_itself(here: Place) -> None:
    ended = await here.run({
        "1": n("EmptyLatentImage", width=64, height=64, batch_size=2),
        "2": n("TLatent", samples=["1", 0]),
        "3": n("LatentUpscaleBy", samples=["2", 0], upscale_method="nearest-exact", scale_by=2),
        "4": n("LatentUpscaleBy", samples=["2", 1], upscale_method="nearest-exact", scale_by=2),
        "5": n("TLatent", samples=["3", 0]), "6": n("TLatent", samples=["4", 0]),
        "7": n("TShow", value=["5", 0]), "8": n("TShow", value=["6", 1]),
    })  # fmt: skip
    assert ended.succeeded, ended.events
    assert "2., 2." in ended.outputs["7"]["text"][0] and "0., 0." in ended.outputs["8"]["text"][0]


async def test_lists_whole_and_one_by_one(here: Place) -> None:
    prompt = {
        "1": n("TNumbers", value=4),
        "2": n("TCount", value=["1", 0]),
        "3": n("TTotal", value=["2", 0]),
        "4": n("TShow", value=["3", 0]),
    }
    ended = await here.run(prompt)
    assert ended.outputs["4"] == {"text": ["6"]} and marks(here, "count") == 4


@pytest.mark.parametrize("shared", ["auto", "off"])
async def test_tensors_larger_than_a_message(shared: str, tmp_path: Path, port: int) -> None:
    before = set(Path("/dev/shm").glob("heliograph-node-*"))
    with provider_process(port, tmp_path) as process:
        async with place(tmp_path, f"127.0.0.1:{port}", shared_memory=shared) as here:
            await here.knows("TBig")
            ended = await here.run(
                {
                    "1": n("TBig", side=3000),
                    "2": n("TBig", side=2, image=["1", 0]),
                    "3": n("PreviewImage", images=["2", 0]),
                }
            )
            assert ended.succeeded and saved(here, ended.outputs["3"])[0, 0].tolist() == [127, 127, 127]
            assert here.executor.nodes._links[0].shared == (shared == "auto")
        process.terminate()
        process.wait()
    assert set(Path("/dev/shm").glob("heliograph-node-*")) <= before


async def until(true: Any) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.01)
