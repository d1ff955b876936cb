"""Token ids against transformers' CLIPTokenizer; the table says which version made it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.text.tokenizer import clean, token_ids, words
from orchestrator.text.vocabulary import END, START, byte_letters, clip_vocabulary

CASES = json.loads(Path(__file__).with_name("clip_token_ids.json").read_text("utf-8"))["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"][:24]))
def test_ids_are_those_of_transformers(case: dict[str, object]) -> None:
    assert list(token_ids(str(case["text"]))) == case["ids"]


def test_the_vocabulary_has_clips_size_and_ends_with_the_special_tokens() -> None:
    vocabulary = clip_vocabulary()
    assert len(vocabulary.ids) == 49408
    assert vocabulary.ids["<|startoftext|>"] == START
    assert vocabulary.ids["<|endoftext|>"] == END
    assert sorted(vocabulary.ids.values()) == list(range(49408))


def test_every_byte_has_a_letter_of_its_own_that_no_split_can_hit() -> None:
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert not any(letter.isspace() for letter in letters)


def test_cleaning_keeps_accents_and_html_but_not_controls() -> None:
    assert clean("Café\u200b\tÜBER\x00 &amp; 東京") == "café über &amp; 東 京"


def test_digits_stand_alone_and_contractions_are_words() -> None:
    assert list(words("it's 2024!?")) == ["it", "'s", "2", "0", "2", "4", "!?"]
