"""Saved canvases: `saved/` has pairs of what the web UI (1.27.10) saved and what it submitted for it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kit.errors import InvalidPrompt, Unsupported
from orchestrator.graph.declare import catalogue_of
from orchestrator.graph.ui_format import is_ui_format, prompt_of
from orchestrator.nodes.catalogue import builtin_nodes

CATALOGUE = catalogue_of(builtin_nodes())
PAIRS = sorted((Path(__file__).with_name("saved")).glob("*.json"))


def pair(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    found = json.loads(Path(__file__).with_name("saved").joinpath(f"{name}.json").read_text("utf-8"))
    return found["workflow"], found["prompt"]


def plain(prompt: dict[str, Any]) -> dict[str, Any]:
    return {node_id: (node["class_type"], node["inputs"]) for node_id, node in prompt.items()}


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_the_prompt_is_the_one_that_the_web_ui_submits(path: Path) -> None:
    workflow, prompt = pair(path.stem)
    assert is_ui_format(workflow) and not is_ui_format(prompt)
    assert plain(prompt_of(workflow, CATALOGUE)) == plain(prompt)


def changed(name: str, node_type: str, **changes: Any) -> dict[str, Any]:
    workflow = copy.deepcopy(pair(name)[0])
    next(node for node in workflow["nodes"] if node["type"] == node_type).update(changes)
    return workflow


def test_bypassed_nodes_hand_on_what_fits() -> None:
    prompt = prompt_of(changed("lora", "LoraLoader", mode=4), CATALOGUE)
    assert "8" not in prompt
    assert prompt["5"]["inputs"]["model"] == ["1", 0]  # type: ignore[index,call-overload]
    assert prompt["2"]["inputs"]["clip"] == ["1", 1]  # type: ignore[index,call-overload]


def test_muted_nodes_are_gone_with_their_links() -> None:
    prompt = prompt_of(changed("lora", "LoraLoader", mode=2), CATALOGUE)
    assert "8" not in prompt and "model" not in prompt["5"]["inputs"]  # type: ignore[index,call-overload,operator]


def test_reroutes_and_primitives_are_resolved_and_notes_left_out() -> None:
    workflow = copy.deepcopy(pair("no-model")[0])
    last = workflow["nodes"][-1]
    save = next(node for node in workflow["nodes"] if node["type"] == "SaveImage")
    number = save["inputs"][0]["link"]
    origin = next(link for link in workflow["links"] if link[0] == number)
    workflow["nodes"] += [
        {"id": 90, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 900}], "outputs": []},
        {"id": 91, "type": "PrimitiveNode", "outputs": [], "widgets_values": ["named", "fixed"]},
        {"id": 92, "type": "MarkdownNote", "widgets_values": ["read me"]},
    ]
    save["inputs"] += [
        {"name": "filename_prefix", "type": "STRING", "link": 902, "widget": {"name": "filename_prefix"}}
    ]
    workflow["links"] = [link for link in workflow["links"] if link[0] != number]
    workflow["links"] += [
        [900, *origin[1:3], 90, 0, "IMAGE"], [number, 90, 0, save["id"], 0, "IMAGE"],
        {"id": 902, "origin_id": 91, "origin_slot": 0, "target_id": save["id"], "target_slot": 1, "type": "STRING"},
    ]  # fmt: skip
    prompt = prompt_of(workflow, CATALOGUE)
    assert not {"90", "91", "92"} & prompt.keys()
    assert prompt[str(save["id"])]["inputs"] == {  # type: ignore[index,call-overload]
        "filename_prefix": "named", "images": [str(origin[1]), origin[2]],
    }  # fmt: skip
    assert last["type"]


def test_unknown_classes_keep_their_links() -> None:
    prompt = prompt_of(changed("lora", "LoraLoader", type="Unheard"), CATALOGUE)
    assert prompt["8"] == {
        "class_type": "Unheard", "inputs": {"model": ["1", 0], "clip": ["1", 1]}, "_meta": {"title": "Unheard"},
    }  # fmt: skip


@pytest.mark.parametrize(
    "broken",
    [
        {"nodes": [{"type": "X"}], "links": []}, {"nodes": [5], "links": []}, {"nodes": [], "links": [[1]]},
        {"nodes": [], "links": [["x", 1, 2]]}, {"nodes": [{"id": 1, "type": "X", "inputs": [{}]}], "links": []},
    ],
)  # fmt: skip
def test_a_canvas_that_is_none(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidPrompt):
        prompt_of(broken, CATALOGUE)


def test_circles_and_subgraphs() -> None:
    loop = {"id": 1, "type": "Reroute", "inputs": [{"name": "", "type": "*", "link": 1}]}
    user = {"id": 2, "type": "PreviewImage", "inputs": [{"name": "images", "type": "IMAGE", "link": 1}]}
    with pytest.raises(InvalidPrompt, match="circle"):
        prompt_of({"nodes": [loop, user], "links": [[1, 1, 0, 1, 0, "*"]]}, CATALOGUE)
    with pytest.raises(Unsupported, match="Export"):
        prompt_of({"nodes": [], "links": [], "definitions": {"subgraphs": [{}]}}, CATALOGUE)
