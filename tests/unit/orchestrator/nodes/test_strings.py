"""Primitives, texts, regular expressions and PreviewAny."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from kit.errors import InvalidRequest, Stopped, TooSlow
from orchestrator.nodes import preview_any, primitives, regexes, strings
from orchestrator.nodes.bounds import MAX_TEXT
from orchestrator.values.models import FileRef
from orchestrator.values.tensors import CondEntry, Latent
from tests.unit.orchestrator.nodes.fakes import context


def test_primitives_hand_on_what_they_are_given() -> None:
    ctx = context()
    assert primitives.primitive_string(ctx, "a") == ("a",)
    assert primitives.primitive_string_multiline(ctx, "a\nb") == ("a\nb",)
    assert primitives.primitive_int(ctx, -3) == (-3,)
    assert primitives.primitive_float(ctx, 2.5) == (2.5,)
    assert primitives.primitive_boolean(ctx, False) == (False,)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\nb", "a\nb"),
        (7, "7"),
        (2.0, "2.0"),
        (True, "True"),
        (None, "None"),
        ([1, "x", None], '[1, "x", null]'),
        ({"a": [1.5]}, '{"a": [1.5]}'),
        (torch.tensor([0.5, 2.0]), "tensor([0.5000, 2.0000])"),
        (Latent(torch.zeros(1, 1, 1, 1), batch_index=(3,)), "{'samples': tensor([[[[0.]]]]), 'batch_index': [3]}"),
        (
            (CondEntry(torch.ones(1, 1, 1), torch.ones(1, 1)),),
            "[[tensor([[[1.]]]), {'pooled_output': tensor([[1.]])}]]",
        ),
        (FileRef("vae", "a", "0"), "FileRef(folder='vae', name='a', digest='0')"),
    ],
)
def test_anything_is_shown_as_text(value: object, text: str) -> None:
    assert preview_any.preview_any(context(), value).ui == {"text": [text]}


def test_joining() -> None:
    assert strings.string_concatenate(context(), "a", "b") == ("ab",)
    assert strings.string_concatenate(context(), "a", "b", "--") == ("a--b",)


@pytest.mark.parametrize(
    ("start", "end", "found"), [(2, 7, "llo w"), (-5, -1, "worl"), (3, 0, ""), (6, 99, "world"), (0, 0, "")]
)
def test_substring_counts_like_a_slice(start: int, end: int, found: str) -> None:
    assert strings.string_substring(context(), "hello world", start, end) == (found,)


def test_length_counts_code_points() -> None:
    assert strings.string_length(context(), "héllo 🙂") == (7,)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        ("UPPERCASE", "IT'S A STRASSE"),
        ("lowercase", "it's a straße"),
        ("Capitalize", "It's a straße"),
        ("Title Case", "It'S A Straße"),
    ],
)
def test_case(mode: str, found: str) -> None:
    assert strings.case_converter(context(), "it'S a Straße", mode) == (found,)


@pytest.mark.parametrize(("mode", "found"), [("Both", "x y"), ("Left", "x y \n"), ("Right", "\t x y")])
def test_trim(mode: str, found: str) -> None:
    assert strings.string_trim(context(), "\t x y \n", mode) == (found,)


def test_replace() -> None:
    assert strings.string_replace(context(), "a b a", "a", "zz") == ("zz b zz",)
    assert strings.string_replace(context(), "ab", "", "-") == ("-a-b-",)


@pytest.mark.parametrize(("sensitive", "found"), [(True, False), (False, True)])
def test_contains_and_compare_heed_case(sensitive: bool, found: bool) -> None:
    ctx = context()
    assert strings.string_contains(ctx, "Hello", "hell", sensitive) == (found,)
    assert strings.string_compare(ctx, "abc", "AB", "Starts With", sensitive) == (found,)
    assert strings.string_compare(ctx, "abc", "BC", "Ends With", sensitive) == (found,)
    assert strings.string_compare(ctx, "abc", "ABC", "Equal", sensitive) == (found,)
    assert strings.string_compare(ctx, "abc", "ab", "Equal", sensitive) == (False,)
    assert strings.string_compare(ctx, "abc", "ab", "Ends With", sensitive) == (False,)


def test_texts_cannot_grow_without_bound() -> None:
    half = "a" * (MAX_TEXT // 2 + 1)
    with pytest.raises(InvalidRequest, match="too long"):
        strings.string_concatenate(context(), half, half)
    with pytest.raises(InvalidRequest, match="too long"):
        strings.string_replace(context(), "a" * 10_000, "a", "b" * 10_000)
    with pytest.raises(InvalidRequest, match="too long"):
        strings.string_replace(context(), "a" * 10_000, "", "b" * 10_000)


@pytest.mark.parametrize(
    ("pattern", "flags", "found"),
    [
        (r"\d+", (True, False, False), True),
        ("ABC", (True, False, False), True),
        ("ABC", (False, False, False), False),
        ("^second", (True, False, False), False),
        ("^second", (True, True, False), True),
        ("123.second", (True, False, False), False),
        ("123.second", (True, False, True), True),
        ("(unclosed", (True, False, False), False),
    ],
)
def test_regex_match_and_flags(pattern: str, flags: tuple[bool, bool, bool], found: bool) -> None:
    assert regexes.regex_match(context(), "abc 123\nsecond", pattern, *flags) == (found,)


@pytest.mark.parametrize(
    ("pattern", "mode", "group", "found"),
    [
        (r"(\w+)=(\w+)", "First Match", 1, "k1=v1"),
        (r"nothing", "First Match", 1, ""),
        (r"(\w+)=(\w+)", "All Matches", 2, "k1\nk2"),
        (r"\w+=\w+", "All Matches", 1, "k1=v1\nk2=v2"),
        (r"\w+=(\w+)", "All Matches", 1, "v1\nv2"),
        (r"k1|(v1)", "All Matches", 1, "\nv1"),
        (r"nothing", "All Matches", 1, ""),
        (r"(\w+)=(\w+)", "First Group", 2, "v1"),
        (r"(\w+)=(\w+)", "First Group", 0, "k1=v1"),
        (r"(\w+)=(\w+)", "First Group", 3, ""),
        (r"k1(x)?", "First Group", 1, None),
        (r"(\w+)=(\w+)", "All Groups", 2, "v1\nv2"),
        (r"(\w+)=(\w+)", "All Groups", 0, "k1=v1\nk2=v2"),
        (r"\w+=\w+", "All Groups", 0, ""),
        (r"(\w+)=(\w+)", "All Groups", 3, ""),
        (r"(((", "All Groups", 1, ""),
    ],
)
def test_regex_extract(pattern: str, mode: str, group: int, found: str | None) -> None:
    assert regexes.regex_extract(context(), "k1=v1 k2=v2", pattern, mode, True, False, False, group) == (found,)


def test_a_group_that_took_no_part_cannot_be_joined() -> None:
    with pytest.raises(InvalidRequest, match="takes part in some"):
        regexes.regex_extract(context(), "ab a", "a(b)?", "All Groups")


def test_regex_replace() -> None:
    ctx = context()
    assert regexes.regex_replace(ctx, "2024-05-06", r"(\d+)-(\d+)", r"\2/\1") == ("05/2024-06",)
    assert regexes.regex_replace(ctx, "aAa", "a", "b", count=2) == ("bba",)
    assert regexes.regex_replace(ctx, "aAa", "a", "b", case_insensitive=False) == ("bAb",)
    assert regexes.regex_replace(ctx, "\ud83d x", "x", "é") == ("\ud83d é",)


@pytest.mark.parametrize(("pattern", "replacement"), [("(", "x"), ("a", r"\9"), ("a" + "(" * 5000, "x")])
def test_what_is_no_pattern_is_a_typed_error_where_something_is_replaced(pattern: str, replacement: str) -> None:
    with pytest.raises(InvalidRequest, match="no regular expression"):
        regexes.regex_replace(context(), "a", pattern, replacement)


def test_catastrophic_backtracking_ends_and_so_does_a_cancelled_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regexes, "LIMIT_S", 0.3)
    with pytest.raises(TooSlow, match="too long"):
        regexes.regex_match(context(), "a" * 60 + "b", "(a+)+$")
    monkeypatch.setattr(regexes, "LIMIT_S", 50.0)
    asked: list[None] = []

    def cancelled() -> None:
        asked.append(None)
        if len(asked) > 1:
            raise Stopped("enough")

    with pytest.raises(Stopped):
        regexes.regex_match(replace(context(), check_cancelled=cancelled), "a" * 60 + "b", "(a+)+$")


def test_a_replacement_that_fills_memory_is_a_typed_error() -> None:
    with pytest.raises(InvalidRequest, match="too much memory"):
        regexes.regex_replace(context(), "a" * 100_000, "a", "b" * 100_000)
