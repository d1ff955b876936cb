"""Prompts that cannot run, or should not: refused in ComfyUI's words, or a run that ends with a typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import graphs
from tests.support.asking import Asking
from tests.support.graphs import Graph, node

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
GIB = 1 << 30


def _problems(asking: Asking, graph: object, node_id: str) -> list[dict[str, Any]]:
    """Problems of one node of a refused prompt."""
    answer = asking.prompt(graph)
    assert answer.status_code == 400, answer.text[:500]
    body = answer.json()
    assert body["error"]["type"] == "prompt_outputs_failed_validation"
    assert body["node_errors"][node_id]["dependent_outputs"]
    found: list[dict[str, Any]] = body["node_errors"][node_id]["errors"]
    return found


def _changed(node_id: str, **inputs: Any) -> Graph:
    graph = graphs.text_to_image()
    graph[node_id]["inputs"].update(inputs)
    return graph


@pytest.mark.parametrize(
    ("node_id", "inputs", "problem", "word"),
    [
        ("1", {"ckpt_name": "absent.safetensors"}, "value_not_in_list", "absent.safetensors"),
        ("1", {"ckpt_name": "../checkpoints/synth_sd15_mini.safetensors"}, "value_not_in_list", "../checkpoints"),
        ("4", {"sampler_name": "no such sampler"}, "value_not_in_list", "no such sampler"),
        ("4", {"steps": 0}, "value_smaller_than_min", "steps"),
        ("4", {"steps": 10**9}, "value_bigger_than_max", "steps"),
        ("4", {"seed": -1}, "value_smaller_than_min", "seed"),
        ("4", {"seed": 2**64}, "value_bigger_than_max", "seed"),
        ("4", {"cfg": 1e300}, "value_bigger_than_max", "cfg"),
        ("4", {"cfg": "nan"}, "invalid_input_type", "cfg"),
        ("4", {"denoise": 1.5}, "value_bigger_than_max", "denoise"),
        ("4", {"steps": "many"}, "invalid_input_type", "steps"),
        ("4", {"steps": {"a": 1}}, "invalid_input_type", "steps"),
        ("4", {"steps": None}, "invalid_input_type", "steps"),
        ("4", {"model": ["1", 1]}, "return_type_mismatch", "model"),
        ("4", {"model": ["1"]}, "bad_linked_input", "model"),
        ("4", {"model": ["1", 99]}, "exception_during_inner_validation", "tuple index out of range"),
        ("4", {"model": ["nowhere", 0]}, "exception_during_inner_validation", "nowhere"),
        ("4", {"model": [["1"], 0]}, "exception_during_inner_validation", "list"),
        ("3", {"width": 16392}, "value_bigger_than_max", "width"),
        ("3", {"width": -8}, "value_smaller_than_min", "width"),
        ("3", {"batch_size": 4097}, "value_bigger_than_max", "batch_size"),
    ],
)
def test_a_wrong_input_is_told(asking: Asking, node_id: str, inputs: dict[str, Any], problem: str, word: str) -> None:
    found = _problems(asking, _changed(node_id, **inputs), node_id)
    assert problem in [one["type"] for one in found], found
    assert word in json.dumps(found)


@pytest.mark.parametrize(("node_id", "name"), [("4", "model"), ("4", "latent_image"), ("5", "vae"), ("6", "images")])
@pytest.mark.parametrize("value", ["1", 7, None, {"samples": 1}])
def test_a_value_where_a_link_belongs(asking: Asking, node_id: str, name: str, value: object) -> None:
    """ComfyUI accepts such a prompt and fails in the node; so do we, and say what is wrong."""
    error, failed = asking.fail(_changed(node_id, **{name: value}))
    assert (failed.reason, failed.facts["input"], failed.node_id) == ("NOT_A_LINK", name, node_id), error


def test_all_problems_are_told_at_once(asking: Asking) -> None:
    graph = _changed("4", steps=0, cfg=-1.0, sampler_name="none", latent_image=["1", 0])
    graph["1"]["inputs"]["ckpt_name"] = "absent.safetensors"
    del graph["3"]["inputs"]["width"]
    errors = asking.prompt(graph).json()["node_errors"]
    kinds = sorted(problem["type"] for problem in errors["4"]["errors"])
    assert kinds == [
        "return_type_mismatch", "value_not_in_list", "value_smaller_than_min", "value_smaller_than_min",
    ]  # fmt: skip
    assert [problem["type"] for problem in errors["1"]["errors"]] == ["value_not_in_list"]


@pytest.mark.parametrize("length", [1, 2, 500])
def test_a_cycle_is_refused(asking: Asking, length: int) -> None:
    graph = {str(i): node("ImageInvert", image=[str((i + 1) % length), 0]) for i in range(length)}
    answer = asking.prompt(graph | {"out": node("PreviewImage", images=["0", 0])})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "prompt_outputs_failed_validation"


@pytest.mark.parametrize(
    "prompt",
    [
        None, [], "", 7, True, {}, {"1": None}, {"1": []}, {"1": {}}, {"1": {"class_type": None, "inputs": {}}},
        {"1": {"class_type": ["PreviewImage"], "inputs": {}}}, {"1": {"class_type": "PreviewImage"}},
        {"1": {"class_type": "PreviewImage", "inputs": []}}, {"1": {"class_type": "PreviewImage", "inputs": None}},
        {"1": {"class_type": "NoSuchNode", "inputs": {}}}, {"1": {"class_type": "EmptyImage", "inputs": {}}},
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_refused(asking: Asking, prompt: object) -> None:
    """400 with ComfyUI's error object, or its recorded 500 text for what is no JSON object."""
    answer = asking.prompt(prompt)
    if answer.status_code != 500 or isinstance(prompt, dict):
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["type"] in (
            "no_prompt", "invalid_prompt", "prompt_no_outputs", "prompt_outputs_failed_validation",
        )  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"a"', b"\xff\xfe", b'{"prompt": {}, "prompt": {}}', b"[" * 100_000, b'{"a":' * 5_000],
)
def test_a_body_that_is_no_json_object_is_refused(asking: Asking, body: bytes) -> None:
    answer = asking.post("/prompt", data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 500)
    assert len(answer.content) < 10_000 and b"Traceback" not in answer.content


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_id": 7}, {"prompt_id": ["a"]}, {"prompt_id": "x" * 10_000}, {"number": "first"}, {"number": None},
        {"extra_data": []}, {"extra_data": "text"}, {"client_id": {"a": 1}}, {"partial_execution_targets": "2"},
        {"partial_execution_targets": [7]}, {"front": "yes"},
    ],
)  # fmt: skip
def test_odd_fields_beside_the_prompt(asking: Asking, more: dict[str, Any]) -> None:
    """Taken as ComfyUI takes them, or refused; never an accident of ours."""
    answer = asking.prompt(graphs.plain(colour=5), **more)
    if answer.status_code == 200:
        asking.ended(answer.json()["prompt_id"])
    else:
        assert answer.status_code in (400, 500), answer.text
        assert "BUG" not in answer.text and "internal error" not in answer.text.lower()


@pytest.mark.parametrize(
    "graph",
    [
        graphs.text_to_image(side=16384, batch=4096),
        graphs.text_to_image(side=16384, batch=256),
        graphs.text_to_image(side=4096, batch=4096),
        graphs.shown(["1", 0], **{"1": node("EmptyImage", width=16384, height=16384, batch_size=4096, color=0)}),
        graphs.shown(["1", 0], **{"1": node("EmptyImage", width=16384, height=16384, batch_size=16, color=255)}),
        graphs.shown(
            ["2", 0],
            **{
                "1": node("EmptyImage", width=4096, height=4096, batch_size=1, color=9),
                "2": node("ImageScaleBy", image=["1", 0], upscale_method="bicubic", scale_by=8.0),
            },
        ),
    ],
    ids=["latent-275-GB", "latent-17-GB", "latents-17-GB", "pictures-13-TB", "pictures-51-GB", "scaled-to-13-GB"],
)
def test_an_absurd_size_is_refused_for_its_memory(asking: Asking, graph: Graph) -> None:
    """The worker's memory has a ceiling: an allocation fails, nobody is killed, nothing swaps."""
    error, failed = asking.fail(graph)
    assert failed.reason == "NO_MEMORY", error
    assert "not enough memory" in error["exception_message"]


def test_a_picture_too_large_for_the_network(asking: Asking) -> None:
    """Small enough as a latent; the model service's memory has a ceiling too."""
    error, failed = asking.fail(graphs.text_to_image(side=16384))
    assert failed.reason == "NO_MEMORY", error
    assert asking.succeed(graphs.text_to_image(seed=41))


def test_a_prompt_over_the_limit_of_bytes(asking: Asking) -> None:
    graph = graphs.plain(colour=6)
    graph["2"]["inputs"]["filename_prefix"] = "x" * (80 << 20)
    answer = asking.prompt(graph)
    assert answer.status_code in (400, 413), answer.text[:300]


def test_more_nodes_than_a_prompt_may_have(asking: Asking) -> None:
    graph = {str(i): node("EmptyImage") for i in range(50_000)}
    answer = asking.prompt(graph | {"out": node("PreviewImage", images=["0", 0])})
    assert answer.status_code == 400
    assert "nodes" in answer.json()["error"]["message"]


@pytest.mark.parametrize("length", [500, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_long_chain(asking: Asking, length: int) -> None:
    """Depth costs no stack anywhere."""
    graph: Graph = {"0": node("EmptyImage", width=8, height=8, batch_size=1, color=0x102030)}
    for i in range(1, length + 1):
        graph[str(i)] = node("ImageInvert", image=[str(i - 1), 0])
    graph["out"] = node("PreviewImage", images=[str(length), 0])
    (picture,) = asking.pictures(asking.succeed(graph))
    assert picture.startswith(b"\x89PNG")


def test_a_long_text(asking: Asking) -> None:
    """2,000 words are 27 rows of tokens."""
    assert asking.succeed(graphs.text_to_image(text="word " * 2000))


@pytest.mark.parametrize("text", ["(" * 300, "(a:nan)", "(a:1e400)", "(a:-1e38)", "\x00", "\ud800", "embedding:" * 99])
def test_a_strange_text(asking: Asking, text: str) -> None:
    """A picture, or an error that speaks of the text."""
    answer = asking.prompt(graphs.text_to_image(text=text))
    if answer.status_code != 200:
        assert answer.status_code in (400, 500)
        return
    entry = asking.ended(answer.json()["prompt_id"])
    name, data = entry["status"]["messages"][-1]
    assert name == "execution_success" or data["reason"] == "PROMPT_WEIGHT", data


def test_one_step(asking: Asking) -> None:
    assert len(asking.pictures(asking.succeed(graphs.text_to_image(steps=1, seed=31)))) == 1
