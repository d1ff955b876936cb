"""object_info of other people's classes: read, shown again unchanged, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kit.errors import InvalidRequest
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.foreign import read_object_info
from orchestrator.graph.object_info import object_info
from orchestrator.graph.prompt import parse
from orchestrator.graph.spec import Link, OneOf
from orchestrator.graph.validate import validate


class Nothing:
    """No lists."""

    def model_files(self, folder: str) -> tuple[str, ...]:
        return ()

    def input_files(self, content: str) -> tuple[str, ...]:
        return ()

    def input_exists(self, annotated_name: str) -> bool:
        return False


INFO: dict[str, Any] = {
    "input": {
        "required": {
            "image": ["IMAGE"],
            "mask": ["MASK", {"lazy": True, "tooltip": "where"}],
            "count": ["INT", {"default": 3, "min": 1, "max": 9, "step": 2, "display": "slider", "odd": [1]}],
            "share": ["FLOAT", {"default": 0.5, "min": 0, "max": 1}],
            "text": ["STRING", {"multiline": True}],
            "flag": ["BOOLEAN", {"default": False}],
            "mode": [["a", "b"], {"default": "a"}],
            "curve": ["CURVE", {"points": [[0, 0]]}],
        },
        "optional": {"model": ["MODEL"], "any": ["*", {}]},
        "hidden": {"id": "UNIQUE_ID", "graph": "DYNPROMPT"},
    },
    "output": ["IMAGE", "INT"],
    "output_is_list": [False, True],
    "output_name": ["picture", "INT"],
    "name": "Mine",
    "display_name": "My node",
    "description": "What it does",
    "python_module": "custom_nodes.mine",
    "category": "mine",
    "output_node": True,
}


def read(info: Any, class_type: str = "Mine") -> Any:
    return read_object_info(class_type, json.dumps(info).encode())


def shown(info: Any) -> Any:
    answer = object_info(read(info), Nothing())
    answer.pop("input_order")
    return answer


def test_it_is_shown_as_it_came() -> None:
    assert shown(INFO) == INFO


def test_a_combo_of_the_newer_form_and_a_class_of_the_newer_form() -> None:
    new = {**INFO, "input": {"required": {"mode": ["COMBO", {"options": ["a", 1]}]}}}
    assert shown(new)["input"]["required"] == {"mode": [["a", 1], {}]}
    v3 = {**new, "api_node": False, "deprecated": False, "experimental": True}
    assert shown(v3)["input"]["required"] == {"mode": ["COMBO", {"multiselect": False, "options": ["a", 1]}]}
    assert shown(v3)["experimental"] is True


def test_unknown_types_take_values_and_lazy_ones_are_known() -> None:
    spec = read(INFO)
    assert spec.input("curve").kind == Link("CURVE", takes_values=True, options={"points": [[0, 0]]})
    assert spec.is_lazy("mask") and not spec.is_lazy("image")
    assert spec.input("mode").kind == OneOf(("a", "b"), options={"default": "a"})


def test_limits_are_checked_like_ours() -> None:
    prompt = {"1": {"class_type": "Mine", "inputs": {"count": 10, "share": -1, "text": "", "flag": 1, "mode": "c"}}}
    found = validate(parse(json.dumps(prompt).encode()), Catalogue.of([read(INFO)]), Nothing())
    kinds = [(e["type"], e["extra_info"]["input_name"]) for e in found.node_errors["1"]["errors"]]  # type: ignore[index,call-overload,union-attr]
    assert kinds == [
        ("required_input_missing", "image"), ("required_input_missing", "mask"), ("value_bigger_than_max", "count"),
        ("value_smaller_than_min", "share"), ("value_not_in_list", "mode"), ("required_input_missing", "curve"),
    ]  # fmt: skip


def required(entry: Any) -> dict[str, Any]:
    return {**INFO, "input": {"required": {"x": entry}}}


HOSTILE: list[Any] = [
    [], None, 5, {**INFO, "input": []}, {**INFO, "input": {"required": [1]}}, {**INFO, "output": "IMAGE"},
    {**INFO, "output": [5]}, {**INFO, "output_node": "yes"}, {**INFO, "category": 5}, {**INFO, "output": ["T"] * 2000},
    {**INFO, "input": {"required": {f"i{n}": ["INT"] for n in range(2000)}}},
    {**INFO, "input": {"required": {"a": ["INT"]}, "optional": {"a": ["INT"]}}},
    {**INFO, "input": {"hidden": 5}}, {**INFO, "input": {"required": {"": ["INT"]}}},
    {**INFO, "input": {"required": {"a\nb": ["INT"]}}}, {**INFO, "input": {"required": {"a" * 300: ["INT"]}}},
    required("INT"), required([]), required(["INT", {}, 1]), required([5]), required(["INT", 5]), required([{"a": 1}]),
    required(["INT", {"min": "0"}]), required(["INT", {"max": True}]), required(["FLOAT", {"min": float("nan")}]),
    required([[["nested"]]]), required(["COMBO"]), required(["COMBO", {"options": 1}]), required(["x" * 300]),
    required(["INT", {"tooltip": 5}]), required([["a"], {"multiselect": True}]),
]  # fmt: skip


@pytest.mark.parametrize("info", HOSTILE, ids=range(len(HOSTILE)))
def test_malformed_ones_are_refused(info: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(info)
    assert caught.value.reason == "NODE_TYPE"


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": NaN}', b" " * (2 << 20)])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_object_info("Mine", text)


def test_deep_ones_are_refused() -> None:
    deep: Any = 1
    for _ in range(50):
        deep = {"a": deep}
    with pytest.raises(InvalidRequest):
        read(required(["INT", {"x": deep}]))


@pytest.mark.parametrize("name", ["", " a", "a\x00", "a\nb", "x" * 201, "a\u202eb"])
def test_odd_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        read(INFO, name)


@pytest.mark.parametrize("name", ["Ä node / with + signs", "KSampler (Efficient)", "🎨 Paint", "__proto__", "../../x"])
def test_names_that_people_use_are_taken(name: str) -> None:
    assert read(INFO, name).id == name
