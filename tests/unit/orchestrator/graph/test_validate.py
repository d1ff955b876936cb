"""Validation: the recorded answers word for word, and what the recording does not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Bool, Float, Int, Link, OneOf, Text
from orchestrator.graph.prompt import Literal, Ref, from_json
from orchestrator.graph.spec import Input, NodeSpec, Output
from orchestrator.graph.validate import MAX_DEPENDENT_OUTPUTS, MAX_PROBLEMS, NO_PROMPT, Validation, validate
from tests.support import reference
from tests.support.recorded_catalogue import FixedLists, recorded_catalogue

LISTS = FixedLists(
    {
        "checkpoints": ("synth_sd15_mini.safetensors",),
        "vae": ("roundtrip_vae_00001_.safetensors", "synth_vae.safetensors", "taesd", "taesdxl"),
    },
    ("there.png",),
)


def cases() -> list[Any]:
    every = json.loads((reference.folder() / "errors.json").read_text())["cases"]
    posted = [case for case in every if (case["request"]["method"], case["request"]["path"]) == ("POST", "/prompt")]
    return [pytest.param(case, id=case["name"]) for case in posted if "json" in case["request"]]


def scrub(value: Any) -> Any:
    """Order of errors and dependent outputs, and tracebacks, differ between ComfyUI's own starts."""
    if isinstance(value, dict):
        made = {key: "*" if key == "traceback" else scrub(item) for key, item in value.items() if key != "tooltip"}
        for key in ("errors", "dependent_outputs"):
            if isinstance(made.get(key), list):
                made[key] = sorted(made[key], key=json.dumps)
        return made
    return [scrub(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", cases())
def test_recorded_answer(case: dict[str, Any]) -> None:
    request, response = case["request"]["json"], case["response"]
    if "prompt" not in request:
        assert scrub(NO_PROMPT) == scrub(response["json"])
        return
    found = validate(from_json(request["prompt"]), recorded_catalogue(), LISTS)
    if response["status"] == 200:
        assert found.ok and found.outputs
        assert scrub(found.node_errors) == scrub(response["json"]["node_errors"])
    else:
        assert not found.ok and not found.outputs
        wanted, got = scrub(response["json"]), scrub(found.body())
        assert got == wanted


def image(**inputs: Any) -> dict[str, Any]:
    return {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0, **inputs}}


def save(node: str, slot: Any = 0, **inputs: Any) -> dict[str, Any]:
    return {"class_type": "SaveImage", "inputs": {"images": [node, slot], "filename_prefix": "a", **inputs}}


def run(prompt: dict[str, Any], targets: list[str] | None = None) -> Validation:
    return validate(from_json(prompt), recorded_catalogue(), LISTS, targets)


def types(found: Validation) -> dict[str, list[str]]:
    return {node: [error["type"] for error in entry["errors"]] for node, entry in found.node_errors.items()}  # type: ignore[index,union-attr,call-overload,misc]


def test_literals_are_converted_and_unreached_nodes_left_alone() -> None:
    found = run(
        {"1": image(width="24", height=24.7, batch_size=True), "2": save("1", filename_prefix=5), "3": image(width="x")}
    )
    assert found.ok and found.outputs == ("2",) and not found.node_errors
    inputs = found.graph.nodes["1"].inputs
    assert inputs is not None
    assert [inputs[name] for name in ("width", "height", "batch_size")] == [Literal(24), Literal(24), Literal(1)]
    assert found.graph.nodes["2"].inputs == {"images": Ref("1", 0), "filename_prefix": Literal("5")}
    assert found.graph.nodes["3"].inputs == from_json({"3": image(width="x")}).nodes["3"].inputs


def test_boolean_from_any_text_is_true() -> None:
    given = {"images": ["1", 0], "fps": "6", "lossless": "false", "quality": 80, "method": "default"}
    given["filename_prefix"] = "a"
    prompt = {"1": image(), "2": {"class_type": "SaveAnimatedWEBP", "inputs": given}}
    inputs = run(prompt).graph.nodes["2"].inputs
    assert inputs is not None and (inputs["lossless"], inputs["fps"]) == (Literal(True), Literal(6.0))


@pytest.mark.parametrize(
    "value", ["nan", "inf", "-Infinity", None, [1, 2, 3], {"a": 1}, {"__value__": [1]}, "1" * 5000]
)
def test_numbers_that_are_none_are_refused(value: Any) -> None:
    prompt = {"1": {"class_type": "SolidMask", "inputs": {"value": value, "width": value, "height": 8}}, "2": {
        "class_type": "MaskOut", "inputs": {"mask": ["1", 0]}}}  # fmt: skip
    out = NodeSpec("MaskOut", "c", (Input("mask", Link("MASK")),), output_node=True)
    catalogue = Catalogue.of([recorded_catalogue()["SolidMask"], out])
    found = validate(from_json(prompt), catalogue, LISTS)
    assert not found.ok
    wanted = {"bad_linked_input"} if isinstance(value, list) else {"invalid_input_type", "value_bigger_than_max"}
    assert len(types(found)["1"]) == 2 and set(types(found)["1"]) <= wanted
    json.dumps(found.body(), allow_nan=False)


def test_all_problems_at_once_in_declared_order() -> None:
    found = run(
        {
            "1": {"class_type": "EmptyImage", "inputs": {"color": -1, "height": "x", "width": 0}},
            "2": save("1", other=["9", 0]),
        }
    )
    assert types(found) == {
        "1": ["value_smaller_than_min", "invalid_input_type", "required_input_missing", "value_smaller_than_min"],
        "2": ["exception_during_validation"],
    }


def test_dangling_link_below_an_output_is_told_at_its_consumer() -> None:
    found = run({"1": {"class_type": "ImageInvert", "inputs": {"image": ["77", 0]}}, "2": save("1")})
    entry: Any = found.node_errors["1"]
    assert entry["errors"][0]["type"] == "exception_during_inner_validation"
    assert entry["errors"][0]["extra_info"]["linked_node"] == ["1", 0]
    assert entry["errors"][0]["details"] == "'77'"
    assert found.error is not None and found.error["details"] == ""


@pytest.mark.parametrize(
    ("link", "details"),
    [
        ([1, 0], "1"),
        ([1.5, 0], "1.5"),
        ([None, 0], "None"),
        ([["1"], 0], "unhashable type: 'list'"),
        (["1", "0"], "tuple indices must be integers or slices, not str"),
        (["1", None], "tuple indices must be integers or slices, not NoneType"),
        (["1", 0.0], "tuple indices must be integers or slices, not float"),
        (["1", 1], "tuple index out of range"),
        (["1", -2], "tuple index out of range"),
        (["1", 10**30], "tuple index out of range"),
    ],
)
def test_odd_links_are_told_as_python_would(link: Any, details: str) -> None:
    found = run({"1": image(), "2": {"class_type": "SaveImage", "inputs": {"images": link, "filename_prefix": "a"}}})
    entry: Any = found.node_errors["2"]
    assert [(error["type"], error["details"]) for error in entry["errors"]] == [
        ("exception_during_validation", details)
    ]


def test_negative_slot_counts_from_the_end() -> None:
    inputs = run({"1": image(), "2": save("1", -1)}).graph.nodes["2"].inputs
    assert inputs is not None and inputs["images"] == Ref("1", 0)


def test_inputs_that_are_no_object() -> None:
    found = run({"1": {"class_type": "EmptyImage", "inputs": None}, "2": save("1")})
    assert types(found) == {"1": ["exception_during_inner_validation"]}


def test_dependent_outputs_are_the_ones_that_need_the_node() -> None:
    found = run(
        {
            "1": image(width=0),
            "2": image(height=0),
            "3": save("1"),
            "4": save("2"),
            "5": save("1"),
            "6": save("7"),
            "7": image(),
        }
    )
    assert found.ok and found.outputs == ("6",)
    entries: Any = found.node_errors
    assert {node: entry["dependent_outputs"] for node, entry in entries.items()} == {"1": ["3", "5"], "2": ["4"]}


def test_targets_choose_outputs() -> None:
    prompt = {"1": image(), "2": save("1"), "3": save("1"), "4": image(width=0), "5": save("4")}
    assert run(prompt, ["3"]).outputs == ("3",)
    assert run(prompt, ["3", "5"]).outputs == ("3",)
    assert run(prompt).outputs == ("2", "3")
    for targets in ([], ["1"], ["nope"]):
        refused = run(prompt, targets)
        assert refused.error is not None and refused.error["type"] == "prompt_no_outputs"


def test_unknown_class_fails_even_where_nothing_uses_it() -> None:
    found = run({"2": save("1"), "1": image(), "x": {"class_type": ["?"], "inputs": {}}})
    assert found.error is not None and found.error["details"] == "Node ID '#x'"


def test_undeclared_inputs() -> None:
    prompt = {"1": image(bogus=[1, 2, 3], other={"a": []}), "2": save("1", also=["3", 0]), "3": image(width="16")}
    found = run(prompt)
    assert found.ok and not found.node_errors
    inputs = found.graph.nodes["3"].inputs
    assert inputs is not None and inputs["width"] == Literal(16)


def test_cycles_are_refused_wordlessly_wherever_they_hang() -> None:
    def invert(source: str) -> dict[str, Any]:
        return {"class_type": "ImageInvert", "inputs": {"image": [source, 0]}}

    loop = {"a": invert("b"), "b": invert("c"), "c": invert("a"), "d": invert("b"), "good": image()}
    found = run({**loop, "1": save("d"), "2": save("a"), "3": save("good")})
    assert found.ok and found.outputs == ("3",) and not found.node_errors
    refused = run({**loop, "1": save("d", extra=["good", 0])})
    assert not refused.ok and not refused.node_errors
    undeclared = run(
        {"1": image(back=["2", 0]), "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}, "3": save("2")}
    )
    assert not undeclared.ok and not undeclared.node_errors


def test_deep_and_wide_graphs() -> None:
    deep: dict[str, Any] = {"0": image(width=0)}
    deep |= {
        str(i): {"class_type": "ImageBatch", "inputs": {"image1": [str(i - 1), 0], "image2": [str(i - 1), 0]}}
        for i in range(1, 4990)
    }
    found = run({**deep, "out": save("4989")})
    assert types(found) == {"0": ["value_smaller_than_min"]}
    wide = run({"0": image(width=0), **{str(i): save("0") for i in range(1, 4000)}})
    entry: Any = wide.node_errors["0"]
    assert len(entry["dependent_outputs"]) == MAX_DEPENDENT_OUTPUTS


def test_number_of_problems_is_bounded_but_faults_are_not_forgotten() -> None:
    bad = {str(i): {"class_type": "SaveImage", "inputs": {"images": []}} for i in range(2000)}
    found = run({**bad, "image": image(), "good": save("image")})
    assert found.outputs == ("good",)
    assert sum(map(len, types(found).values())) == MAX_PROBLEMS


def test_long_lists_are_not_repeated() -> None:
    lists = FixedLists({"checkpoints": tuple(f"{i}.safetensors" for i in range(30_000))})
    spec = NodeSpec("C", "c", (Input("ckpt", OneOf.catalogue("checkpoints")),), (Output("A", "A"),), output_node=True)
    prompt = {str(i): {"class_type": "C", "inputs": {"ckpt": ["0", 0] if i % 2 else "nope"}} for i in range(1000)}
    found = validate(from_json(prompt), Catalogue.of([spec]), lists)
    assert len(json.dumps(found.body())) < 2_000_000
    assert found.error is not None and "nope' not in (list of length 30000)" in str(found.error["details"])


def test_unions_and_anything() -> None:
    def consumer(wire: str) -> Catalogue:
        giver = NodeSpec("G", "c", (), (Output("INT", "i"), Output("*", "any"), Output("FLOAT,INT", "both")))
        return Catalogue.of([giver, NodeSpec("T", "c", (Input("x", Link(wire)),), output_node=True)])

    def fits(wire: str, slot: int) -> bool:
        prompt = {"1": {"class_type": "G", "inputs": {}}, "2": {"class_type": "T", "inputs": {"x": ["1", slot]}}}
        return validate(from_json(prompt), consumer(wire), LISTS).ok

    assert [fits(wire, 0) for wire in ("INT", "*", "FLOAT,INT", "FLOAT", "STRING")] == [True, True, True, False, False]
    assert fits("IMAGE", 1) and fits("FLOAT", 2) and not fits("IMAGE,MASK", 2)


def test_older_combos_take_no_link_newer_ones_do() -> None:
    giver = NodeSpec("G", "c", (), (Output("COMBO", "c"),))
    for v3 in (False, True):
        taker = NodeSpec("T", "c", (Input("x", OneOf(("a", "b"))),), output_node=True, v3=v3)
        prompt = {"1": {"class_type": "G", "inputs": {}}, "2": {"class_type": "T", "inputs": {"x": ["1", 0]}}}
        found = validate(from_json(prompt), Catalogue.of([giver, taker]), LISTS)
        assert found.ok is v3
        if not v3:
            entry: Any = found.node_errors["2"]
            assert entry["errors"][0]["details"] == "x, received_type(COMBO) mismatch input_type(['a', 'b'])"


def test_unhashable_values_are_in_no_list() -> None:
    spec = NodeSpec("T", "c", (Input("x", OneOf(("a", ["b"]))),), output_node=True)
    for value, ok in (({"__value__": ["b"]}, True), ({"__value__": ["c"]}, False), ({"k": 1}, False), ("a", True)):
        found = validate(from_json({"1": {"class_type": "T", "inputs": {"x": value}}}), Catalogue.of([spec]), LISTS)
        assert found.ok is ok


def test_optional_inputs_may_be_missing_but_not_wrong() -> None:
    inputs = tuple(Input(kind.wire, kind, False) for kind in (Int(max=3), Float(), Text(), Bool()))
    spec = NodeSpec("T", "c", inputs, output_node=True)
    assert validate(from_json({"1": {"class_type": "T", "inputs": {}}}), Catalogue.of([spec]), LISTS).ok
    found = validate(from_json({"1": {"class_type": "T", "inputs": {"INT": 4}}}), Catalogue.of([spec]), LISTS)
    assert types(found) == {"1": ["value_bigger_than_max"]}


def test_input_files_exist_or_are_named() -> None:
    def load(name: Any) -> Validation:
        return run({"1": {"class_type": "LoadImage", "inputs": {"image": name}}, "2": save("1")})

    assert load("there.png").ok
    entry: Any = load(5).node_errors["1"]
    assert entry["errors"][0]["details"] == "image - Invalid image file: 5"


@pytest.mark.parametrize("class_type", ["SamplerCustomAdvanced", "SaveSVGNode", "WanImageToVideo"])
def test_a_node_of_comfyui_that_is_not_here_is_told_with_the_reason(class_type: str) -> None:
    """In ComfyUI's words, which leave room in `extra_info`; a class that nobody knows gets none."""
    for name, told in ((class_type, True), ("NoSuchNode", False)):
        graph = from_json({"1": {"class_type": name, "inputs": {}}})
        error = validate(graph, recorded_catalogue(), LISTS).error
        assert error is not None and error["message"] == f"Cannot execute because node {name} does not exist."
        assert bool(error["extra_info"]) is told
        if told:
            assert error["extra_info"]["reason"].split()[0].rstrip(":,") in ("later", "not")
