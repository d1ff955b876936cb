"""What packs find behind ComfyUI's names."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from node_host.nodes import Call
from node_host.surface import comfy_nodes, comfy_utils, contexts, folder_paths, model_management, node_helpers, running
from node_host.surface.comfy_api import ComfyAPI
from node_host.surface.comfy_types import IO
from node_host.surface.graph_utils import GraphBuilder, add_graph_prefix, is_link
from node_host.surface.missing import MissingModule, NotGiven, Opaque
from node_host.surface.server import PromptServer


@pytest.fixture
def place(tmp_path: Path) -> Path:
    kinds = {"loras": ([str(tmp_path / "models" / "loras")], [".safetensors"]), "any": ([str(tmp_path / "any")], [])}
    folder_paths.configure(tmp_path / "data", tmp_path / "models", kinds)
    for name in ("data/input/sub", "data/output", "data/temp", "models/loras/deep", "any"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def call(told: list[Any]) -> Call:
    return Call("run", "7", "7.2.", lambda *report: told.append(report))


def test_model_files_are_listed_and_found_inside_their_folders(place: Path) -> None:
    for name in ("b.safetensors", "deep/a.SAFETENSORS", "c.txt"):
        (place / "models" / "loras" / name).touch()
    assert folder_paths.get_filename_list("loras") == ["b.safetensors", "deep/a.SAFETENSORS"]
    assert folder_paths.get_full_path("loras", "b.safetensors") == str(place / "models/loras/b.safetensors")
    assert folder_paths.get_full_path("loras", "none") is None and folder_paths.get_full_path("odd", "b") is None
    assert folder_paths.get_full_path("loras", "../../data/input") is None
    with pytest.raises(FileNotFoundError):
        folder_paths.get_full_path_or_raise("loras", "none")
    folder_paths.add_model_folder_path("loras", str(place / "any"), is_default=True)
    (place / "any" / "z.safetensors").touch()
    assert folder_paths.get_filename_list("loras")[-1] == "z.safetensors"
    assert folder_paths.get_folder_paths("loras")[0] == str(place / "any")


def test_annotated_names_stay_in_their_areas(place: Path) -> None:
    (place / "data/output/a.png").touch()
    assert folder_paths.get_annotated_filepath("a.png [output]") == str(place / "data/output/a.png")
    assert folder_paths.exists_annotated_filepath("a.png [output]")
    assert not folder_paths.exists_annotated_filepath("a.png")
    for outside in ("../secret", "/etc/passwd", "../output2/x [output]"):
        with pytest.raises(ValueError, match="outside"):
            folder_paths.get_annotated_filepath(outside)
        assert not folder_paths.exists_annotated_filepath(outside)


def test_saved_files_are_numbered_after_those_that_are_there(place: Path) -> None:
    root = folder_paths.get_output_directory()
    first = folder_paths.get_save_image_path("sub/%width%x%height%", root, 8, 4)
    assert first == (str(place / "data/output/sub"), "8x4", 1, "sub", "sub/8x4")
    for name in ("8x4_00007_.png", "8x4_x_.png", "8x44_00009_.png"):
        (place / "data/output/sub" / name).touch()
    assert folder_paths.get_save_image_path("sub/8x4", root)[2] == 8
    with pytest.raises(ValueError, match="outside"):
        folder_paths.get_save_image_path("../../x", root)


def test_graphs_get_the_ids_that_comfyui_gives() -> None:
    with running.running(call([]), "X"):
        first, second = GraphBuilder(), GraphBuilder()
    made = [first.node("A", x=1), first.node("B"), second.node("A"), first.node("C", "Recurse")]
    assert [node.id for node in made] == ["7.2.0.1", "7.2.0.2", "7.2.1.1", "7.2.0.Recurse"]
    made[1].set_input("y", made[0].out(1))
    made[1].set_override_display_id("shown")
    first.replace_node_output("1", 1, 5)
    assert first.finalize()["7.2.0.2"] == {"class_type": "B", "inputs": {"y": 5}, "override_display_id": "shown"}
    assert first.lookup_node("Recurse") is made[3] and GraphBuilder("p").node("A").id == "p1"


def test_links_are_told_from_lists_and_moved() -> None:
    assert is_link(["1", 0]) and not any(map(is_link, (["1", "0"], ["1"], ("1", 0), [1, 0], "10", ["1", True])))
    graph = {"1": {"class_type": "A", "inputs": {"x": ["2", 0], "y": [1, 2]}}}
    moved, outputs = add_graph_prefix(graph, (["1", 0], 5), "p.")
    assert moved == {"p.1": {"class_type": "A", "inputs": {"x": ["p.2", 0], "y": [1, 2]}}}
    assert outputs == (["p.1", 0], 5)


def test_progress_goes_to_the_call_and_ends_with_it() -> None:
    told: list[Any] = []
    here = call(told)
    with running.running(here, "X"):
        bar = comfy_utils.ProgressBar(4)
        bar.update(1)
        bar.update_absolute(9, 5, ("PNG", Image.new("RGB", (100, 50)), 10))
        asyncio.run(ComfyAPI().execution.set_progress(1, 2))
        PromptServer.instance.send_sync("progress", {"value": 2, "max": 3})
        assert contexts.get_executing_context() == ("run", "7", 2)
        here.cancel()
        for look in (model_management.throw_exception_if_processing_interrupted, lambda: bar.update(1)):
            with pytest.raises(model_management.InterruptProcessingException):
                look()
    assert [entry[:2] for entry in told] == [(1, 4), (5, 5), (1, 2), (2, 3)]
    assert told[1][2].media_type == "image/png"
    comfy_utils.ProgressBar(1).update(1)  # nobody runs: nothing happens
    model_management.throw_exception_if_processing_interrupted()


def test_pictures_are_scaled_and_cut() -> None:
    wide = torch.arange(8.0).reshape(1, 1, 1, 8).repeat(1, 3, 4, 1) / 8
    for method in ("nearest-exact", "bilinear", "area", "bicubic", "lanczos"):
        assert comfy_utils.common_upscale(wide, 6, 2, method, "disabled").shape == (1, 3, 2, 6)
    square = comfy_utils.common_upscale(wide, 4, 4, "nearest-exact", "center")
    assert square[0, 0, 0].tolist() == [2 / 8, 3 / 8, 4 / 8, 5 / 8]
    doubled = comfy_utils.tiled_scale(
        wide, lambda part: part.repeat_interleave(2, -1).repeat_interleave(2, -2), 4, 4, 2, 2
    )
    assert torch.allclose(doubled, wide.repeat_interleave(2, -1).repeat_interleave(2, -2), atol=1e-6)
    assert comfy_utils.repeat_to_batch_size(wide, 3).shape[0] == 3


def test_types_compare_as_comfyuis() -> None:
    pairs = [(IO.ANY, "IMAGE"), ("IMAGE", IO.ANY), (IO.INT, "FLOAT"), (IO.INT, "FLOAT,INT"), (IO.NUMBER, "INT")]
    assert [one != other for one, other in pairs] == [False, False, True, False, True] and IO.INT == "INT"


def test_conditioning_is_changed_in_a_copy() -> None:
    before = [[torch.zeros(1), {"a": [1]}]]
    after = node_helpers.conditioning_set_values(before, {"a": [2], "b": 3}, append=True)
    assert after[0][1] == {"a": [1, 2], "b": 3} and before[0][1] == {"a": [1]}


def test_what_is_not_here_says_its_name() -> None:
    module, model = MissingModule("comfy.sd"), Opaque(object(), "MODEL")
    for look, name in (
        (lambda: module.VAE, "comfy.sd.VAE"),
        (lambda: module(), "comfy.sd"),
        (lambda: model.clone(), "MODEL.clone"),
        (lambda: comfy_nodes.NODE_CLASS_MAPPINGS["Odd"](), "nodes.Odd"),
        (lambda: folder_paths.set_output_directory("/"), "set_output_directory"),
    ):
        comfy_nodes.configure(["Odd"])
        with pytest.raises(NotGiven, match=name.replace(".", r"\.")):
            look()
    assert not hasattr(model, "clone") and not hasattr(module, "VAE")
