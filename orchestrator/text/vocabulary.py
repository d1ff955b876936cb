"""CLIP's byte-pair vocabulary (Radford et al. 2021): 49,408 tokens made from OpenAI's list of merges."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

START = 49406
END = 49407
END_OF_WORD = "</w>"
START_TEXT = "<|startoftext|>"
END_TEXT = "<|endoftext|>"
_MERGES = 48_894


@dataclass(frozen=True)
class Vocabulary:
    """`letters`: the character that stands for each byte; `ranks`: a pair's priority; `ids`: a token's id."""

    letters: tuple[str, ...]
    ranks: Mapping[tuple[str, str], int]
    ids: Mapping[str, int]


def byte_letters() -> tuple[str, ...]:
    """The printable stand-in of each byte value: itself where Latin-1 prints it, else characters from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [value for value in range(256) if value not in set(printable)]
    letters = {value: chr(value) for value in printable} | {value: chr(256 + i) for i, value in enumerate(hidden)}
    return tuple(letters[value] for value in range(256))


def _merges() -> list[tuple[str, str]]:
    packed = resources.files("orchestrator.text").joinpath("data/clip_bpe_merges.txt.gz").read_bytes()
    pairs = [tuple(line.split(" ")) for line in gzip.decompress(packed).decode("utf-8").splitlines()]
    if len(pairs) != _MERGES:
        raise ValueError(f"clip_bpe_merges.txt.gz has {len(pairs)} merges, expected {_MERGES}: reinstall the package")
    return [(left, right) for left, right in pairs]


@cache
def clip_vocabulary() -> Vocabulary:
    """The vocabulary of every CLIP text model; read once (about 0.1 s)."""
    letters = byte_letters()
    merges = _merges()
    # ids count printable bytes first, as the stand-in table was built, not in byte order
    order = sorted(letters, key=lambda letter: (ord(letter) >= 256, ord(letter)))
    tokens = [*order, *(letter + END_OF_WORD for letter in order), *(left + right for left, right in merges)]
    ids = {token: i for i, token in enumerate([*tokens, START_TEXT, END_TEXT])}
    return Vocabulary(letters, {pair: rank for rank, pair in enumerate(merges)}, ids)
