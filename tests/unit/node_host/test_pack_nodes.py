"""Node classes of packs: found, declared, called, and what they return."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kit.errors import NotFound
from kit.node_values import Blocked, HandleRef, HostRef, NodeLink, SameAs
from node_host.handles import Handles
from node_host.nodes import Expansion, Result
from node_host.packs.declare import declaration
from node_host.packs.dynprompt import DynPrompt
from node_host.packs.find import find_packs
from node_host.packs.outcome import outcome
from node_host.packs.turns import Turns
from node_host.packs.values import Kept, PackValues, as_array, as_tensor
from node_host.surface.graph_utils import ExecutionBlocker, GraphBuilder
from node_host.surface.missing import Opaque
from node_host.surface.running import InterruptProcessingException
from node_host.web import WebFolders


def test_packs_are_found_alone_and_in_folders(tmp_path: Path) -> None:
    for name in (
        "a/__init__.py",
        "b.py",
        "c.disabled/__init__.py",
        ".d/__init__.py",
        "empty/x.txt",
        "a/.venv/lib/x.py",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x = {'expand': 1}" if ".venv" in name else "")
    found = find_packs([tmp_path, tmp_path / "a"])
    assert [pack.name for pack in found] == ["a", "b"] and not found[0].may_expand()
    (tmp_path / "a" / "more.py").write_text("return {'expand': graph}")
    assert found[0].may_expand()
    before = found[0].state()
    (tmp_path / "a" / "more.py").write_text("changed")
    assert found[0].state() != before
    with pytest.raises(NotFound, match="no node pack"):
        find_packs([tmp_path / "empty"])


class Whatever(str):
    __slots__ = ()

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = str.__hash__


class Odd:
    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "a": (Whatever("*"),), "b": (("x", None, 3),),
                "c": ("INT", {"default": np.int64(3), "max": float("inf")}),
                "d": "IMAGE", "e": ("FLOAT", {"widget": print, "lazy": True}),
            },
            "optional": {"a": ("IMAGE",), "f": ("LATENT",)},
            "hidden": {"id": "UNIQUE_ID", "silent": ("*",), "f": "PROMPT"},
        }  # fmt: skip

    RETURN_TYPES = ("IMAGE", Whatever("*"), ["x", "y"])
    RETURN_NAMES = ("picture",)
    OUTPUT_IS_LIST = (False, True)
    FUNCTION = "run"
    CATEGORY = "odd"
    EXPERIMENTAL = True


def test_odd_declarations_become_plain_json() -> None:
    found = declaration("Odd", Odd, None, "custom_nodes.odd")
    assert found.info["input"] == {
        "required": {"a": ["*"], "b": [["x", "None", 3]], "c": ["INT", {"default": 3}], "d": ["IMAGE"],
                     "e": ["FLOAT", {"lazy": True}]},
        "optional": {"f": ["LATENT"]},
        "hidden": {"id": "UNIQUE_ID", "silent": ["*"]},
    }  # fmt: skip
    assert found.info["output"] == ["IMAGE", "*", ["x", "y"]] and found.types == ("IMAGE", "*", "COMBO")
    assert found.info["output_name"] == ["picture", "*", "COMBO"] and found.lists == (False, True, False)
    assert found.any_inputs == ("a",) and found.any_outputs == (1,) and found.lazy == ("e",)
    assert found.hidden == {"id": "UNIQUE_ID"} and found.info["experimental"] is True


def results(returned: Any, *types: str, lists: tuple[bool, ...] = ()) -> tuple[Any, ...]:
    made = outcome(returned, types, lists or (False,) * len(types), "5.0.")
    assert isinstance(made, Result)
    return made.outputs


def test_results_are_taken_as_comfyui_takes_them() -> None:
    assert results((1, 2, 3), "INT", "INT") == (1, 2) and results((1,), "INT", "IMAGE") == (1, None)
    assert results(None) == () and results({"ui": {}}, "INT") == (None,)
    (blocked, other) = results(ExecutionBlocker("x"), "INT", "IMAGE")
    assert blocked is other and isinstance(blocked, ExecutionBlocker)
    with pytest.raises(TypeError, match="int"):
        results(5, "INT")


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        ("MASK", (4, 5), (1, 4, 5)), ("MASK", (2, 1, 4, 5), (2, 4, 5)), ("MASK", (2, 4, 5, 1), (2, 4, 5)),
        ("IMAGE", (4, 5, 3), (1, 4, 5, 3)), ("IMAGE", (2, 4, 5, 3), (2, 4, 5, 3)), ("SIGMAS", (4,), (4,)),
    ],
)  # fmt: skip
def test_pictures_get_the_sides_that_they_should_have(kind: str, given: Any, wanted: Any) -> None:
    assert results((torch.zeros(given),), kind)[0].shape == wanted


def test_what_only_packs_understand_stays_unless_models_are_in_it() -> None:
    model = Opaque(HostRef("m"), "MODEL")
    table, pipe, latent = {1: 2}, (model, [1]), {"samples": torch.zeros(1)}
    kept, tagged, plain = results((table, pipe, latent), "TABLE", "PIPE", "LATENT")
    assert isinstance(kept, Kept) and kept.value is table
    assert tagged == {"__heliograph_tuple__": [model, [1]]} and plain is latent
    assert PackValues(Handles(), "me", lists=False).inward(tagged) == (model, [1])


def test_a_graph_takes_the_nodes_place() -> None:
    graph = GraphBuilder("5.0.0.")
    child = graph.node("A", x=3, image=torch.zeros(1))
    graph.node("B", y=child.out(1))
    made = outcome({"result": (child.out(0), 7), "expand": graph.finalize(), "ui": {"text": "ab"}}, ("INT", "INT"),
                   (False, False), "5.0.")  # fmt: skip
    assert (
        isinstance(made, Expansion) and made.outputs == (NodeLink("5.0.0.1", 0), 7) and made.ui == {"text": ["a", "b"]}
    )
    assert made.graph.nodes[1].inputs == {"y": NodeLink("5.0.0.1", 1)} and made.graph.nodes[0].inputs["x"] == 3


def test_what_is_shown_is_json() -> None:
    ui = {"number": (np.float32(0.5), float("nan")), "one": 3, "odd": [Path("a")]}
    made = outcome({"ui": ui}, (), (), "")
    assert made.ui == {"number": [0.5, None], "one": [3], "odd": [repr(Path("a"))]}


def values() -> PackValues:
    handles = Handles()
    handles.begin("me")
    return PackValues(handles, "me", lists=False)


def test_inputs_are_copies_and_go_out_by_name_only_if_unchanged() -> None:
    wire = {"image": np.ones((2, 2), np.float32), "latent": np.zeros(2, np.float32)}
    table = values()

    def read(name: str) -> Any:
        value = table.inward(wire[name])
        return {"samples": value} if name == "latent" else value

    inputs = {name: read(name) for name in wire}
    table.came(inputs, read)
    assert table.outward(inputs["image"]) == SameAs("image") and table.outward(inputs["latent"]) == SameAs("latent")
    inputs["image"].numpy()[0] = 5
    inputs["latent"]["samples"].add_(1)
    assert table.outward(inputs["image"])[0].tolist() == [5, 5] and wire["image"].max() == 1
    assert table.outward(inputs["latent"]) is inputs["latent"] and wire["latent"].max() == 0


def test_every_kind_of_value_goes_over_the_wire() -> None:
    table = values()
    assert table.outward(ExecutionBlocker("x")) == Blocked("x")
    assert table.outward(Opaque(HostRef("m"), "MODEL")) == HostRef("m")
    assert isinstance(table.inward(HostRef("m", "MODEL")), Opaque)
    assert isinstance(table.outward(Kept({1: 2})), HandleRef) and isinstance(table.outward({1, 2}), HandleRef)
    assert type(table.outward(Whatever("x"))) is str
    half = torch.tensor([1.5, -2.0], dtype=torch.bfloat16)
    assert torch.equal(as_tensor(as_array(half)), half)
    assert as_array(torch.eye(2).to_sparse()).tolist() == [[1, 0], [0, 1]]
    assert as_array(torch.zeros(2, 3).t()).flags.c_contiguous


def test_the_cache_is_told_how_much_an_object_holds() -> None:
    class Thing:
        def __init__(self) -> None:
            self.parts = {1: [torch.zeros(8), np.zeros(4, np.uint8)], "me": self}

    ref = values().outward(Kept((Thing(), torch.zeros(2))))
    assert isinstance(ref, HandleRef) and ref.size_bytes == 32 + 4 + 8


def test_the_graph_knows_who_made_a_node() -> None:
    graph = DynPrompt(
        {"1": {}, "1.0.0.2": {"override_display_id": "shown"}, "1.0.0.2.0.0.x": {}, "a.b.c.d": {"class_type": "A"}}
    )
    assert graph.get_real_node_id("1.0.0.2.0.0.x") == "1" and graph.get_parent_node_id("a.b.c.d") is None
    assert graph.get_display_node_id("1.0.0.2") == "shown" and graph.get_display_node_id("1.0.0.2.0.0.x") == "shown"
    assert set(graph.get_original_prompt()) == {"1", "a.b.c.d"} and graph.has_node("1") and not graph.has_node("2")


async def test_plain_functions_run_one_after_the_other_and_can_be_stopped() -> None:
    turns, began, at_once = Turns(grace_s=20), threading.Event(), []

    def blind() -> None:
        began.set()
        while True:
            sum(range(100))

    def count() -> int:
        at_once.append(threading.active_count())
        return len(at_once)

    endless = asyncio.create_task(turns.plain(blind))
    await asyncio.to_thread(began.wait, 10)
    waiting = [asyncio.create_task(turns.plain(count)) for _ in range(3)]
    endless.cancel()
    with pytest.raises(asyncio.CancelledError):
        await endless
    assert await asyncio.gather(*waiting) == [1, 2, 3]
    turns.close()


async def test_a_function_that_will_not_stop_keeps_its_thread_and_no_other() -> None:
    turns, began, released = Turns(grace_s=0.05), threading.Event(), threading.Event()

    def stubborn() -> None:
        began.set()
        while not released.is_set():
            try:
                released.wait(0.01)
            except InterruptProcessingException:
                continue

    task = asyncio.create_task(turns.plain(stubborn))
    await asyncio.to_thread(began.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await turns.plain(lambda: 5) == 5 and not released.is_set()
    released.set()
    turns.close()


async def test_coroutines_run_on_a_loop_of_their_own() -> None:
    turns = Turns()

    async def where() -> bool:
        return asyncio.get_running_loop() is turns.loop

    assert await turns.coroutine(where) and asyncio.get_running_loop() is not turns.loop
    turns.close()


def test_files_for_browsers_stay_inside_their_folders(tmp_path: Path) -> None:
    (tmp_path / "web" / "deep").mkdir(parents=True)
    for name in ("web/a.js", "web/deep/b.css", "secret", "web/.git"):
        (tmp_path / name).write_text(name)
    (tmp_path / "web" / "link.js").symlink_to(tmp_path / "secret")
    folders = WebFolders({"p": tmp_path / "web"})
    assert [path for path, _ in folders.files()] == ["p/a.js", "p/deep/b.css"]
    assert folders.read("p/deep/b.css") == b"web/deep/b.css"
    for wrong in (
        "p/../secret",
        "p/link.js",
        "p",
        "p/",
        "q/a.js",
        "p//a.js",
        "p/./a.js",
        "p/deep",
        "p/a.js\0",
        "/p/a.js",
        "p/.git",
    ):
        with pytest.raises(NotFound):
            folders.read(wrong)
