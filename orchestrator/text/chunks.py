"""Prompts to rows of 77 tokens for a CLIP text model, with a weight and perhaps an embedding vector for each token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.text.embeddings import EmbeddingName, Find, pieces
from orchestrator.text.tokenizer import token_ids
from orchestrator.text.vocabulary import END, START
from orchestrator.text.weights import weighted_runs

if TYPE_CHECKING:
    import numpy as np

ROW = 77
# A segment of at least this many tokens is cut at a row's end; a shorter one moves to the next row whole.
_SPLITTABLE = 8


@dataclass(frozen=True, eq=False)
class Token:
    """A token id, or the vector that takes its place, and its weight."""

    id: int
    weight: float
    vector: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Chunk:
    """One row: 77 ids, 77 weights, and vectors [width] by position (their ids are 0)."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]
    vectors: Mapping[int, np.ndarray]

    @property
    def weighted(self) -> bool:
        """Whether any token has a weight other than 1."""
        return any(weight != 1.0 for weight in self.weights)


@dataclass(frozen=True)
class EmbeddingSource:
    """Where prompts find embeddings: `find` a file's name, `load` its vectors [n, width] (None: unfit)."""

    find: Find
    load: Callable[[str], np.ndarray | None]
    unknown: Callable[[str], None]


NO_EMBEDDINGS = EmbeddingSource(lambda name: None, lambda name: None, lambda name: None)
EMPTY_CHUNK = Chunk((START, *(END,) * (ROW - 1)), (1.0,) * ROW, {})


def chunks(prompt: str, embeddings: EmbeddingSource = NO_EMBEDDINGS) -> tuple[Chunk, ...]:
    """Rows of a prompt, at least one; each starts with 49406 and is padded with the end token 49407."""
    rows: list[list[Token]] = [[]]
    for segment in segments(prompt, embeddings):
        _place(segment, rows)
    return tuple(_chunk(row) for row in rows)


def segments(prompt: str, embeddings: EmbeddingSource) -> list[list[Token]]:
    """Tokens of the prompt's weighted runs, each run cut further at its embeddings."""
    out: list[list[Token]] = []
    for run in weighted_runs(prompt):
        for piece in pieces(run.text, embeddings.find, embeddings.unknown):
            if isinstance(piece, EmbeddingName):
                vectors = embeddings.load(piece.file)
                out.append([] if vectors is None else [Token(0, run.weight, vector) for vector in vectors])
            else:
                out.append([Token(id_, run.weight) for id_ in token_ids(piece)])
    return out


def embedding_files(prompt: str, find: Find) -> tuple[str, ...]:
    """Files of the embeddings that a prompt names and `find` knows, in order of appearance, each once."""
    names = [
        piece.file
        for run in weighted_runs(prompt)
        for piece in pieces(run.text, find, lambda name: None)
        if isinstance(piece, EmbeddingName)
    ]
    return tuple(dict.fromkeys(names))


def _place(segment: Sequence[Token], rows: list[list[Token]]) -> None:
    room = ROW - 2
    rest = list(segment)
    while len(rows[-1]) + len(rest) > room:
        if len(segment) >= _SPLITTABLE:
            cut = room - len(rows[-1])
            rows[-1].extend(rest[:cut])
            rest = rest[cut:]
        rows.append([])
    rows[-1].extend(rest)


def _chunk(row: Sequence[Token]) -> Chunk:
    padding = ROW - 1 - len(row)
    return Chunk(
        (START, *(token.id for token in row), *(END,) * padding),
        (1.0, *(token.weight for token in row), *(1.0,) * padding),
        {i + 1: token.vector for i, token in enumerate(row) if token.vector is not None},
    )
