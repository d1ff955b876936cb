"""Rows of 77 tokens: where they are cut, and where embeddings go."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.text.chunks import (
    EMPTY_CHUNK,
    EmbeddingSource,
    Token,
    chunks,
    embedding_files,
    segments,
)
from orchestrator.text.embeddings import EmbeddingName, finder, pieces
from orchestrator.text.tokenizer import token_ids
from orchestrator.text.vocabulary import END, START

DOG = token_ids("dog")[0]
VECTORS = {"a.safetensors": np.arange(6, dtype=np.float32).reshape(3, 2), "b.pt": np.ones((1, 2), np.float32)}


def source(unknown: list[str] | None = None) -> EmbeddingSource:
    told = unknown if unknown is not None else []
    return EmbeddingSource(finder(VECTORS), VECTORS.__getitem__, told.append)


def test_the_empty_prompt_is_one_row_of_padding() -> None:
    (row,) = chunks("")
    assert row.ids == EMPTY_CHUNK.ids == (START, *(END,) * 76)
    assert not row.weighted


def test_75_tokens_fill_one_row_and_the_76th_opens_another() -> None:
    assert len(chunks("dog " * 75)) == 1
    first, second = chunks("dog " * 76)
    assert first.ids == (START, *(DOG,) * 75, END)
    assert second.ids == (START, DOG, *(END,) * 75)


def test_a_short_segment_moves_whole_to_the_next_row() -> None:
    first, second = chunks("dog " * 70 + "(" + "dog " * 7 + ":1.5)")
    assert first.ids[71:73] == (END, END)
    assert second.ids[:9] == (START, *(DOG,) * 7, END)
    assert second.weights[:9] == (1.0, *(1.5,) * 7, 1.0)


def test_a_segment_of_eight_is_cut_at_the_row_end() -> None:
    first, second = chunks("dog " * 70 + "(" + "dog " * 8 + ":1.5)")
    assert first.ids == (START, *(DOG,) * 75, END)
    assert first.weights[71:] == (1.5,) * 5 + (1.0,)
    assert second.ids[:5] == (START, DOG, DOG, DOG, END)


def test_embeddings_take_places_of_their_own_with_the_run_weight() -> None:
    (row,) = chunks("dog (embedding:a:1.3), embedding:b.pt, dog", source())
    assert list(row.vectors) == [2, 3, 4, 6]
    assert row.weights[1:7] == (1.0, 1.3, 1.3, 1.3, 1.0, 1.0)
    assert row.vectors[3].tolist() == [2.0, 3.0]
    assert row.ids[2] == 0


def test_unknown_embeddings_are_told_and_left_out_but_the_text_behind_stays() -> None:
    told: list[str] = []
    (row,) = chunks("embedding:none, a house", source(told))
    assert told == ["none"]
    assert row.ids == chunks(", a house")[0].ids


def test_an_embedding_for_another_encoder_leaves_no_token() -> None:
    unfit = EmbeddingSource(finder(VECTORS), lambda name: None, lambda name: None)
    (row,) = chunks("dog embedding:a dog", unfit)
    assert row.ids[:4] == (START, DOG, DOG, END)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("embedding:a", [EmbeddingName("a.safetensors")]),
        ("x embedding:a y", ["x", EmbeddingName("a.safetensors"), "y"]),
        ("x\nembedding:b, y", ["x", EmbeddingName("b.pt"), ", y"]),
        ("xembedding:a", ["xembedding:a"]),
        ("embedding:a embedding:a", [EmbeddingName("a.safetensors")] * 2),
        ("embedding:", []),
    ],
)
def test_references(text: str, expected: list[object]) -> None:
    assert list(pieces(text, finder(VECTORS), lambda name: None)) == expected


def test_named_files_are_listed_once_in_order() -> None:
    prompt = "(embedding:b:2) embedding:a embedding:b embedding:no"
    assert embedding_files(prompt, finder(VECTORS)) == ("b.pt", "a.safetensors")


def test_segments_keep_the_weight_of_their_run() -> None:
    found = segments("dog (dog dog:0.5)", source())
    assert [[(token.id, token.weight) for token in segment] for segment in found] == [
        [(DOG, 1.0)],
        [(DOG, 0.5), (DOG, 0.5)],
    ]
    assert isinstance(found[0][0], Token)
