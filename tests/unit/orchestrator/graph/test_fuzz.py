"""Arbitrary prompts: parsing raises InvalidPrompt or nothing, validation nothing at all, answers are JSON."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kit.errors import InvalidPrompt
from orchestrator.graph.prompt import from_json, parse
from orchestrator.graph.validate import validate
from tests.support.recorded_catalogue import FixedLists, recorded_catalogue

CATALOGUE = recorded_catalogue()
LISTS = FixedLists({"checkpoints": ("a.safetensors",)}, ("a.png",))
IDS = st.sampled_from(["1", "2", "3", "é", ""])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["24", "nan", "a.png"])
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
LINKS = st.tuples(IDS, st.integers(-3, 4)).map(list)
VALUES = LINKS | LINKS | ANYTHING | ANYTHING.map(lambda value: {"__value__": value})
NAMES = sorted({item.name for spec in CATALOGUE.values() for item in spec.inputs})


@st.composite
def nodes(draw: st.DrawFn) -> Any:
    """A node of a known class, most of its inputs there, some of them links."""
    spec = CATALOGUE[draw(st.sampled_from(sorted(CATALOGUE)))]
    inputs = {item.name: draw(VALUES) for item in spec.inputs if draw(st.integers(0, 9))}
    inputs |= draw(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2))
    return {"class_type": spec.id, "inputs": inputs}


PROMPTS = st.dictionaries(IDS, nodes() | nodes() | ANYTHING, max_size=5)


@settings(max_examples=300, deadline=None)
@given(PROMPTS, st.none() | st.lists(IDS))
def test_any_prompt_gets_an_answer(prompt: Any, targets: list[str] | None) -> None:
    graph = parse(json.dumps(prompt))
    found = validate(graph, CATALOGUE, LISTS, targets)
    answer = json.loads(json.dumps(found.body(), allow_nan=False))
    assert found.ok == bool(found.outputs)
    assert found.ok or answer["error"]["type"]
    again = parse(json.dumps(found.graph.as_json(), allow_nan=False))
    assert again == found.graph
    if found.ok:
        revalidated = validate(again, CATALOGUE, LISTS, targets)
        assert revalidated.graph == found.graph and revalidated.outputs == found.outputs


@settings(max_examples=200, deadline=None)
@given(ANYTHING | PROMPTS)
def test_any_json_is_a_graph_or_a_typed_refusal(data: Any) -> None:
    try:
        graph = from_json(json.loads(json.dumps(data)))
    except InvalidPrompt as error:
        assert error.reason in ("MALFORMED_PROMPT", "PROMPT_TOO_BIG")
    else:
        assert set(graph.nodes) == set(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:1eE.-nul\\ ', max_size=60))
def test_any_bytes_are_a_graph_or_a_typed_refusal(text: bytes | str) -> None:
    try:
        parse(text)
    except InvalidPrompt as error:
        assert error.reason in ("MALFORMED_PROMPT", "PROMPT_TOO_BIG")
