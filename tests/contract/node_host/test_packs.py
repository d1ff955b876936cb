"""Unmodified node packs in a process of their own, through a real front and worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from heliograph.graph.v1 import run_service_pb2 as pb
from PIL import Image

from kit.errors import InvalidPrompt
from kit.status import from_rpc_error
from tests.support.pack_host import pack_host
from tests.support.providers import Ended, Place, place
from tests.support.stack import free_ports

Prompt = dict[str, Any]
WHITE = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0xFFFFFF}}
BLACK = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}}


@dataclass
class Hosted:
    port: int
    data: Path


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    root = tmp_path_factory.mktemp("packs")
    data, models = root / "data", root / "models"
    for folder in (data / "input", data / "temp", data / "output", models / "loras"):
        folder.mkdir(parents=True)
    (data / "input" / "one.txt").write_text("first")
    (models / "loras" / "a.safetensors").write_bytes(b"x")
    (port,) = free_ports(1)
    with pack_host(port, data, models):
        yield Hosted(port, data)


@pytest.fixture
async def here(hosted: Hosted) -> AsyncIterator[Place]:
    async with place(hosted.data.parent, f"127.0.0.1:{hosted.port}", node_check_s=20.0) as found:
        async with asyncio.timeout(50):
            while "TourBlend" not in found.front.front.nodes.catalogue():
                await asyncio.sleep(0.02)
        yield found


def n(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": f"Tour{class_type}", "inputs": inputs}


def report(source: str, slot: int = 0) -> dict[str, Any]:
    return n("Report", value=[source, slot])


def texts(ended: Ended, node_id: str = "show") -> Any:
    assert ended.succeeded, ended.of("failed")
    return ended.outputs[node_id]["text"]


def marks(here: Place, name: str) -> int:
    path = here.data / "temp" / name
    return len(path.read_text()) if path.exists() else 0


async def refusal(here: Place, prompt: Prompt, node_id: str) -> dict[str, Any]:
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit(prompt)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidPrompt) and error.body is not None
    (problem,) = error.body["node_errors"][node_id]["errors"]  # type: ignore[index,call-overload]
    return dict(problem)


async def test_classes_are_declared_as_comfyui_would(here: Place) -> None:
    info = (await here.object_info("TourBlend"))["TourBlend"]
    assert info["display_name"] == "Blend (tour)" and info["python_module"] == "custom_nodes.tour"
    assert info["input"]["required"]["one"] == ["IMAGE", {"lazy": True}]
    assert info["input_order"]["required"] == ["one", "two", "share"]
    assert (info["output"], info["output_name"]) == (["IMAGE", "MASK"], ["picture", "brightness"])
    assert (info["category"], info["description"]) == ("tour/image", "Blends two pictures.")
    listed = (await here.object_info("TourMakeList"))["TourMakeList"]
    assert listed["output_is_list"] == [True] and not listed["output_node"]
    assert (await here.object_info("TourStop"))["TourStop"]["input"]["required"]["value"] == ["*"]
    assert (await here.object_info("SingleText"))["SingleText"]["display_name"] == "SingleText"


async def test_packs_and_classes_that_cannot_be_had_are_left_out(here: Place) -> None:
    assert {"SingleText", "TourBlend"} <= set(here.front.front.nodes.catalogue())
    assert not {"Reaches", "SingleNone"} & set(here.front.front.nodes.catalogue())


async def test_lazy_inputs_progress_and_previews(here: Place) -> None:
    def blend(share: float) -> Prompt:
        return {
            "w": WHITE, "b": BLACK, "blend": n("Blend", one=["w", 0], two=["b", 0], share=share),
            "look": n("Statistics", image=["blend", 0]), "show": report("look"),
            "mask": {"class_type": "MaskToImage", "inputs": {"mask": ["blend", 1]}},
            "see": {"class_type": "PreviewImage", "inputs": {"images": ["mask", 0]}},
        }  # fmt: skip

    half = await here.run(blend(0.5))
    assert texts(half) == ["0.500"]
    assert [(e.value, e.max) for e in half.of("progress") if e.node_id == "blend"] == [(1, 2), (2, 2)]
    (preview,) = half.of("preview")
    assert preview.media_type == "image/jpeg" and preview.image[:2] == b"\xff\xd8"
    first = await here.run(blend(0.0))
    assert texts(first) == ["1.000"] and "b" not in first.executed


async def test_what_check_lazy_status_raises_is_told(here: Place) -> None:
    share = {"a": n("MakeList", count=1), "f": {"class_type": "PrimitiveFloat", "inputs": {"value": -1.0}}}
    blend = n("Blend", one=["w", 0], two=["w", 0], share=["f", 0])
    ended = await here.run({**share, "w": WHITE, "blend": blend, "s": n("Statistics", image=["blend", 0]),
                            "show": report("s")})  # fmt: skip
    assert ended.failure.exception_type == "custom_nodes.tour.images.TourTrouble"
    assert ended.failure.node_id == "blend" and "less than nothing" in ended.failure.exception_message


@pytest.mark.parametrize("by_numpy", [False, True])
async def test_a_pack_that_changes_its_inputs_harms_nobody(here: Place, by_numpy: bool) -> None:
    latent = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
    prompt = {
        "w": WHITE, "l": latent,
        "dark": n("Darken", image=["w", 0], latent=["l", 0], by_numpy=by_numpy),
        "darker": n("Darken", image=["dark", 0], latent=["dark", 1], by_numpy=by_numpy),
        "white": n("Statistics", image=["w", 0]), "a": report("white"),
        "grey": n("Statistics", image=["dark", 0]), "b": report("grey"),
        "deep": n("Statistics", image=["darker", 0]), "c": report("deep"),
    }  # fmt: skip
    ended = await here.run(prompt)
    assert [texts(ended, name) for name in "abc"] == [["1.000"], ["0.500"], ["0.250"]]
    again = await here.run({**prompt, "d": n("Report", value=["dark", 1]), "e": n("Report", value=["l", 0])})
    assert "dark" not in again.executed
    assert "1." in texts(again, "d")[0] and "1." not in texts(again, "e")[0]


async def test_files_choices_and_fingerprints(here: Place) -> None:
    def pick(name: str) -> Prompt:
        return {"p": n("Pick", image=name, model="a.safetensors"), "show": report("p")}

    assert texts(await here.run(pick("one.txt"))) == ["first"]
    before = marks(here, "pick")
    assert "p" not in (await here.run(pick("one.txt"))).executed and marks(here, "pick") == before
    (here.data / "input" / "two.txt").write_text("second")
    assert texts(await here.run(pick("two.txt"))) == ["second"]  # at once, though the list is older
    assert (await refusal(here, pick("none.txt"), "p"))["type"] == "value_not_in_list"
    assert (await refusal(here, pick("../../models/loras/a.safetensors"), "p"))["type"] == "value_not_in_list"
    async with asyncio.timeout(30):
        while "two.txt" not in (await here.object_info("TourPick"))["TourPick"]["input"]["required"]["image"][0]:
            await asyncio.sleep(0.05)


async def test_classes_may_derive_from_comfyuis(here: Place) -> None:
    ended = await here.run({"w": WHITE, "show": n("Show", images=["w", 0])})
    assert ended.succeeded, ended.failure
    (file,) = ended.outputs["show"]["images"]
    with Image.open(here.data / file["type"] / file["filename"]) as picture:
        assert np.asarray(picture).min() == 255 and '"TourShow"' in picture.info["prompt"]


async def test_lists_are_mapped_whole_and_blocked_in_part(here: Place) -> None:
    ended = await here.run(
        {"l": n("MakeList", count=4), "d": n("Double", number=["l", 0]), "s": n("Sum", numbers=["d", 0], times=10),
         "show": report("s"), "each": report("d")}
    )  # fmt: skip
    assert texts(ended) == ["120"] and texts(ended, "each") == ["0", "2", "4", "6"]
    blocked = await here.run(
        {"l": n("MakeList", count=4, blocked=2), "d": n("Double", number=["l", 0]), "each": report("d"),
         "s": n("Sum", numbers=["l", 0]), "show": report("s")}
    )  # fmt: skip
    assert texts(blocked, "each") == ["0", "2", "6"] and "show" not in blocked.outputs


async def test_a_blockers_message_is_told_and_the_run_goes_on(here: Place) -> None:
    ended = await here.run(
        {"l": n("MakeList", count=1), "s": n("Stop", value=["l", 0], message="not today"), "show": report("s"),
         "w": WHITE, "look": n("Statistics", image=["w", 0]), "other": report("look")}
    )  # fmt: skip
    assert ended.succeeded and texts(ended, "other") == ["1.000"] and "show" not in ended.outputs
    (told,) = ended.of("blocked") if ended.of("blocked") else ended.of("failed")
    assert "not today" in str(told)


async def test_nodes_expand_into_themselves_for_each_element_of_a_list(here: Place) -> None:
    ended = await here.run(
        {
            "l": n("MakeList", count=4),
            "p": n("Power", times=["l", 0], so_far=1),
            "show": report("p"),
            "how": report("p", 1),
        }
    )
    assert texts(ended) == ["1", "2", "4", "8"] and texts(ended, "how") == ["done", "grown", "grown", "grown"]
    assert {"p.1.0.1", "p.1.0.2", "p.3.0.2.0.0.2.0.0.2"} <= set(ended.executed)
    shown = {event.node_id: event.display_node_id for event in ended.of("executing")}
    assert shown["p.1.0.2"] == "shown" and shown["p.1.0.1"] == "p"


async def test_a_picture_that_came_in_goes_into_an_expansion(here: Place) -> None:
    ended = await here.run(
        {"w": WHITE, "t": n("Tint", image=["w", 0]), "s": n("Statistics", image=["t", 0]), "show": report("s")}
    )
    assert texts(ended) == ["0.000"]


async def test_links_the_graph_and_undeclared_inputs(here: Place) -> None:
    ended = await here.run(
        {"l": n("MakeList", count=1), "k": n("Links", number=["l", 0]), "show": report("k"),
         "c": n("Collect", first=["l", 0], more=["l", 0], literal=5), "all": report("c")}
    )  # fmt: skip
    assert texts(ended) == ["l TourMakeList None False None"] and texts(ended, "all") == ["first=0 more=0"]


async def test_coroutines_run_beside_each_other(here: Place) -> None:
    ended = await here.run({"a": n("Meet", name="a", parties=2), "b": n("Meet", name="b", parties=2),
                            "x": report("a"), "y": report("b")})  # fmt: skip
    assert texts(ended, "x") == ["A"] and texts(ended, "y") == ["B"]
    assert {(e.node_id, e.value) for e in ended.of("progress")} == {("a", 1), ("b", 1)}


async def test_own_objects_stay_and_come_back_as_they_were(here: Place) -> None:
    ended = await here.run(
        {"m": n("MakeThing"), "u": n("UseThing", thing=["m", 0], table=["m", 1]), "show": report("u")}
    )
    assert texts(ended) == ["True"]


async def test_instances_stay_with_their_nodes(here: Place) -> None:
    for text, wanted in (("a", "a1"), ("b", "b2")):
        single = {"class_type": "SingleText", "inputs": {"text": text}}
        assert texts(await here.run({"kept": single, "show": report("kept")})) == [wanted]


async def test_is_changed_decides_what_runs_again(here: Place) -> None:
    async def runs(how: str) -> int:
        prompt = {"l": n("MakeList", count=1), "c": n("Changing", how=how, link=["l", 0]), "show": report("c")}
        before = marks(here, "changing")
        for _ in range(2):
            assert texts(await here.run(prompt)) == ["0"]
        return marks(here, "changing") - before

    assert [await runs(how) for how in ("same", "nan", "fails")] == [1, 2, 2]


async def test_classes_validate_by_themselves(here: Place) -> None:
    number = {"l": n("MakeList", count=1)}

    async def named(value: int, linked: Any) -> Any:
        return await refusal(here, {**number, "v": n("Named", value=value, linked=linked), "show": report("v")}, "v")

    assert texts(await here.run({**number, "v": n("Named", value=12, linked=["l", 0]), "show": report("v")})) == ["12"]
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit({**number, "v": n("Named", value=13, linked=["l", 0]), "show": report("v")})
    assert "thirteen is not allowed" in str(from_rpc_error(caught.value).body)  # type: ignore[attr-defined]
    typed = {**number, "v": n("Typed", value=["l", 0]), "show": report("v")}
    assert texts(await here.run(typed)) == ["0"]
    wrong = await refusal(here, {"t": n("Links", number=["w", 0]), **number, "w": n("MakeList", count=1),
                                 "v": n("Typed", value=["t", 0]), "show": report("v")}, "v")  # fmt: skip
    assert wrong["type"] == "custom_validation_failed" and "not for STRING" in wrong["details"]


@pytest.mark.parametrize(("a", "why"), [(2, "two is too much"), (3, "")])
async def test_a_validation_that_takes_everything(here: Place, a: int, why: str) -> None:
    prompt = {"l": n("MakeList", count=1), "v": n("Everything", a=a, b=["l", 0]), "show": report("v")}
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit(prompt)
    assert why in str(from_rpc_error(caught.value).body)  # type: ignore[attr-defined]
    prompt["v"]["inputs"]["a"] = 1
    assert texts(await here.run(prompt)) == ["1"]


async def test_a_coroutine_asks_for_lazy_inputs_by_and_by(here: Place) -> None:
    def waits(first: int) -> Prompt:
        return {
            "a": {"class_type": "PrimitiveInt", "inputs": {"value": first}}, "b": n("DoubleLiteral", number=21),
            "w": n("Waits", first=["a", 0], second=["b", 0]), "show": report("w"),
        }  # fmt: skip

    one, five = await here.run(waits(1)), await here.run(waits(5))
    assert texts(one) == ["-1"] and "b" not in one.executed
    assert texts(five) == ["42"] and "b" in five.executed


@pytest.mark.parametrize(
    ("how", "kind", "text"),
    [
        ("own", "custom_nodes.tour.images.TourTrouble", "it did not go well"),
        ("builtin", "ZeroDivisionError", "division"),
        ("missing", "node_host.surface.missing.NotGiven", "comfy.sd.load_checkpoint_guess_config"),
    ],
)
async def test_what_a_node_raises_is_told(here: Place, how: str, kind: str, text: str) -> None:
    ended = await here.run({"f": n("Fails", how=how), "show": report("f")})
    assert (ended.failure.exception_type, ended.failure.node_id) == (kind, "f")
    assert text in ended.failure.exception_message


@pytest.mark.parametrize("how", ["asks", "blind"])
async def test_cancelling_ends_pack_code(here: Place, how: str) -> None:
    began, ended = marks(here, "slow_began"), marks(here, "slow_ended")
    run_id = await here.submit({"s": n("Slow", how=how), "show": report("s")})
    async with asyncio.timeout(30):
        while marks(here, "slow_began") == began:
            await asyncio.sleep(0.01)
        await here.front.runs.CancelRun(pb.CancelRunRequest(run_ids=[run_id]))
        await here.front.ended(run_id)
        while marks(here, "slow_ended") == ended:
            await asyncio.sleep(0.01)
    assert texts(await here.run({"l": n("MakeList", count=1), "show": report("l")})) == ["0"]


async def test_classes_of_the_v3_schema(here: Place) -> None:
    info = (await here.object_info("ModernRepeat"))["ModernRepeat"]
    assert info["display_name"] == "Repeat (modern)" and info["output_name"] == ["repeated", "INT"]
    assert info["input"]["required"]["times"] == ["INT", {"default": 2, "min": 1, "max": 9, "tooltip": "How often"}]

    def modern(times: int) -> Prompt:
        inputs = {"text": "x", "times": times, "glue": "+"}
        shown = [{"class_type": "ModernShown", "inputs": {"value": ["r", slot]}} for slot in range(2)]
        return {"r": {"class_type": "ModernRepeat", "inputs": inputs}, "show": shown[0], "each": shown[1]}

    ended = await here.run(modern(3))
    assert texts(ended) == ["x+x+xr"] and texts(ended, "each") == ["0", "1", "2"]
    with pytest.raises(grpc.RpcError) as caught:
        await here.submit(modern(5))
    assert "no five" in str(from_rpc_error(caught.value).body)  # type: ignore[attr-defined]
