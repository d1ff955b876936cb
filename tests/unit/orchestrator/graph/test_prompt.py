"""Parsing: bounds, links, wrapped values, round trip."""

from __future__ import annotations

import json

import pytest

from kit.errors import InvalidPrompt
from orchestrator.graph.prompt import Bounds, Literal, Malformed, Ref, parse

PROMPT = {
    "1": {
        "inputs": {"a": ["2", 0], "b": 1.5, "c": {"__value__": ["2", 0]}, "d": ["2"]},
        "class_type": "A",
        "_meta": {"title": "x"},
    },
    "2": {"class_type": "B", "inputs": {}, "is_changed": [1]},
}


def test_links_literals_and_malformed_lists() -> None:
    node = parse(json.dumps(PROMPT)).nodes["1"]
    assert node.inputs == {
        "a": Ref("2", 0),
        "b": Literal(1.5),
        "c": Literal(["2", 0]),
        "d": Malformed(["2"]),
    }
    assert list(node.refs()) == [("a", Ref("2", 0))]


def test_round_trip_keeps_order_meta_and_wrapped_lists() -> None:
    graph = parse(json.dumps(PROMPT))
    assert json.dumps(graph.as_json()) == json.dumps(PROMPT)
    assert parse(json.dumps(graph.as_json())) == graph


def test_canonical_form_ignores_spelling() -> None:
    other = json.dumps(dict(reversed(PROMPT.items())), indent=2).encode()
    assert parse(other).canonical() == parse(json.dumps(PROMPT)).canonical()
    assert parse(b'{"1": {"class_type": "\xc3\xa9"}}').canonical() == b'{"1":{"class_type":"\\u00e9"}}'


def test_with_input_changes_one_value_only() -> None:
    graph = parse(json.dumps(PROMPT))
    changed = graph.with_input("1", "b", 7)
    assert changed.nodes["1"].inputs is not None and changed.nodes["1"].inputs["b"] == Literal(7)
    assert graph.nodes["1"].inputs is not None and graph.nodes["1"].inputs["b"] == Literal(1.5)
    assert changed.nodes["2"] is graph.nodes["2"]


def test_numbers_that_are_not_json_become_null() -> None:
    node = parse('{"1": {"class_type": "A", "inputs": {"a": NaN, "b": -Infinity, "c": 1e999, "d": 1e30}}}').nodes["1"]
    assert node.inputs == {"a": Literal(None), "b": Literal(None), "c": Literal(None), "d": Literal(1e30)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{not json", "MALFORMED_PROMPT"),
        (b"\xff\xfe\x00", "MALFORMED_PROMPT"),
        (b"null", "MALFORMED_PROMPT"),
        (b"[]", "MALFORMED_PROMPT"),
        (b"", "MALFORMED_PROMPT"),
        (b"[" * 100_000, "MALFORMED_PROMPT"),
        (b'{"a":' * 100_000, "MALFORMED_PROMPT"),
        (b'{"1": ' + b"9" * 10_000 + b"}", "MALFORMED_PROMPT"),
        (b'{"1": {}, "1": {}}', "MALFORMED_PROMPT"),
        (b'{"1": {"inputs": {"a": 1, "a": 2}}}', "MALFORMED_PROMPT"),
        (b'{"1": ' + b"[" * 11 + b"]" * 11 + b"}", "PROMPT_TOO_BIG"),
        (json.dumps({str(i): {} for i in range(21)}).encode(), "PROMPT_TOO_BIG"),
        (b'{"1": "' + b"x" * 700_000 + b'"}', "PROMPT_TOO_BIG"),
    ],
)
def test_refused(text: bytes, reason: str) -> None:
    with pytest.raises(InvalidPrompt) as raised:
        parse(text, Bounds(max_bytes=600_000, max_nodes=20, max_depth=10))
    assert raised.value.reason == reason


def test_nesting_at_the_bound_passes() -> None:
    assert parse(b'{"1": ' + b"[" * 9 + b"]" * 9 + b"}", Bounds(max_depth=10)).nodes["1"].inputs is None


def test_nodes_that_are_no_objects_have_no_class() -> None:
    for text in ("5", "null", "[]", '"class_type"', "{}", '{"inputs": {}}'):
        assert parse(f'{{"1": {text}}}').nodes["1"].class_type is None
    assert parse('{"1": {"class_type": [1]}}').nodes["1"].class_type == "[1]"
