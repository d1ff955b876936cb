"""Which node a `--prompt` goes to."""

from __future__ import annotations

from typing import Any

import pytest

from cli.prompt_text import with_text
from kit.errors import InvalidRequest


def _graph(**nodes: Any) -> dict[str, Any]:
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


SAMPLED = _graph(
    clip=("CLIPLoader", {}),
    good=("CLIPTextEncode", {"text": "a", "clip": ["clip", 0]}),
    bad=("CLIPTextEncode", {"text": "b", "clip": ["clip", 0]}),
    sampler=("KSampler", {"positive": ["good", 0], "negative": ["bad", 0]}),
)


def test_the_text_of_a_role_is_replaced_and_nothing_else() -> None:
    changed = with_text(SAMPLED, "positive", "new")
    assert changed["good"]["inputs"]["text"] == "new"
    assert SAMPLED["good"]["inputs"]["text"] == "a"
    assert with_text(changed, "positive", "a") == SAMPLED
    assert with_text(SAMPLED, "negative", "new")["bad"]["inputs"]["text"] == "new"


def test_conditioning_nodes_in_between_are_passed_through() -> None:
    graph = SAMPLED | _graph(
        control=("ControlNetApplyAdvanced", {"positive": ["good", 0], "negative": ["bad", 0], "strength": 1}),
        both=("ConditioningSetTimestepRange", {"conditioning": ["control", 0], "start": 0.0}),
        sampler=("KSampler", {"positive": ["both", 0], "negative": ["control", 1]}),
    )
    changed = with_text(graph, "positive", "new")
    assert (changed["good"]["inputs"]["text"], changed["bad"]["inputs"]["text"]) == ("new", "b")


def test_two_samplers_of_one_text_are_no_question() -> None:
    graph = SAMPLED | _graph(
        again=("CLIPTextEncode", {"text": "a", "clip": ["clip", 0]}),
        second=("KSampler", {"positive": ["again", 0], "negative": ["bad", 0]}),
    )
    changed = with_text(graph, "positive", "new")
    assert changed["good"]["inputs"]["text"] == changed["again"]["inputs"]["text"] == "new"


def test_what_is_not_clear_is_refused() -> None:
    two = SAMPLED | _graph(
        more=("CLIPTextEncode", {"text": "else", "clip": ["clip", 0]}),
        both=("ConditioningCombine", {"conditioning_1": ["good", 0], "conditioning_2": ["more", 0]}),
        sampler=("KSampler", {"positive": ["both", 0], "negative": ["bad", 0]}),
    )
    with pytest.raises(InvalidRequest, match="--set"):
        with_text(two, "positive", "new")
    with pytest.raises(InvalidRequest, match="--set"):
        with_text(_graph(a=("EmptyImage", {})), "positive", "new")


def test_cycles_and_nonsense_end() -> None:
    graph = _graph(a=("X", {"positive": ["a", 0]}), b=("Y", {"positive": ["nowhere", 0]}), c=("Z", {"positive": 3}))
    with pytest.raises(InvalidRequest):
        with_text(graph | {"d": None, "e": {"inputs": []}}, "positive", "new")
