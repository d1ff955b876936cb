"""ComfyUI's weight syntax (PARITY.md: Prompt weights)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text.weights import weighted_runs


def runs(prompt: str) -> list[tuple[str, float]]:
    return [(run.text, pytest.approx(run.weight)) for run in weighted_runs(prompt)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", []),
        ("a cat", [("a cat", 1.0)]),
        ("(a) b", [("a", 1.1), (" b", 1.0)]),
        ("((a))", [("a", 1.21)]),
        ("(a:1.5)", [("a", 1.5)]),
        ("((a:1.5) b)", [("a", 1.5), (" b", 1.1)]),
        ("((a):0.5)", [("a", 0.55)]),
        ("(ratio 16:9), 10:30", [("ratio 16", 9.0), (", 10:30", 1.0)]),
        ("(a:b:1.2)", [("a:b", 1.2)]),
        ("(a:x)", [("a:x", 1.1)]),
        ("(:1.2)", [(":1.2", 1.1)]),
        ("(rock:-0.5)", [("rock", -0.5)]),
        ("[a] {b}", [("[a] {b}", 1.0)]),
        (r"a \(b\) (c \(d\):2)", [("a (b) ", 1.0), ("c (d)", 2.0)]),
        (r"50\% a\\b", [(r"50\% a\\b", 1.0)]),
        ("(open", [("(open", 1.0)]),
        ("close) (x)", [("close) (x)", 1.0)]),
        ("(b (c)", [("b ", 1.1), ("(c", 1.1)]),
        ("()", []),
    ],
)
def test_runs(prompt: str, expected: list[tuple[str, float]]) -> None:
    assert runs(prompt) == expected


@given(st.text(alphabet="ab ():1.\\[]", max_size=40))
def test_text_is_never_lost_but_for_parentheses_and_weights(prompt: str) -> None:
    kept = "".join(run.text for run in weighted_runs(prompt))
    assert kept.count("a") == prompt.count("a")
    assert kept.count("b") == prompt.count("b")
