"""Text to CLIP token ids: BERT-style cleaning (no ftfy, no HTML unescaping), CLIP's word pattern, byte-pair merging."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from orchestrator.text.vocabulary import END_OF_WORD, END_TEXT, START_TEXT, clip_vocabulary

# A special token written in a prompt counts as one, whatever it touches.
_SPECIAL = re.compile(f"({re.escape(START_TEXT)}|{re.escape(END_TEXT)})")
_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
# The blocks that BERT's tokenizer (Apache-2.0, google-research/bert) treats as one word per character.
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def token_ids(text: str) -> tuple[int, ...]:
    """Ids of `text` without start and end tokens."""
    parts = _SPECIAL.split(text)
    return tuple(token for part in parts for word in words(clean(part)) for token in _word_ids(word))


def clean(text: str) -> str:
    """Control characters dropped, white space single, ideographs set apart, NFC, lower case; accents stay."""
    spaced = "".join(_cleaned(char) for char in text)
    return " ".join(word.lower() for word in unicodedata.normalize("NFC", spaced).split())


def _cleaned(char: str) -> str:
    if char in " \t\n\r" or unicodedata.category(char) == "Zs":
        return " "
    if char == "\ufffd" or unicodedata.category(char).startswith("C"):
        return ""
    point = ord(char)
    return f" {char} " if any(low <= point <= high for low, high in _IDEOGRAPHS) else char


def words(text: str) -> Iterator[str]:
    """Pieces that never merge: special tokens, contractions, letter runs, single digits, runs of anything else."""
    position = 0
    while position < len(text):
        if text[position].isspace():
            position += 1
            continue
        length = _word_length(text, position)
        yield text[position : position + length]
        position += length


def _word_length(text: str, start: int) -> int:
    for fixed in (START_TEXT, END_TEXT, *_CONTRACTIONS):
        if text[start : start + len(fixed)].casefold() == fixed:
            return len(fixed)
    kind = _kind(text[start])
    if kind == "N":
        return 1
    end = start + 1
    while end < len(text) and _kind(text[end]) == kind:
        end += 1
    return end - start


def _kind(char: str) -> str:
    """L letter, N number, " " white space, "" anything else."""
    if char.isspace():
        return " "
    major = unicodedata.category(char)[0]
    return major if major in "LN" else ""


@lru_cache(maxsize=16384)
def _word_ids(word: str) -> tuple[int, ...]:
    """Byte-pair encoding of one word (Sennrich et al. 2016): merge the best-ranked neighbours until none is left."""
    vocabulary = clip_vocabulary()
    if word in (START_TEXT, END_TEXT):
        return (vocabulary.ids[word],)
    parts = [vocabulary.letters[byte] for byte in word.encode("utf-8")]
    parts[-1] += END_OF_WORD
    while len(parts) > 1:
        ranked = [vocabulary.ranks.get(pair) for pair in pairwise(parts)]
        known = [rank for rank in ranked if rank is not None]
        if not known:
            break
        parts = _merged(parts, ranked, min(known))
    return tuple(vocabulary.ids[part] for part in parts)


def _merged(parts: list[str], ranked: list[int | None], best: int) -> list[str]:
    merged: list[str] = []
    i = 0
    while i < len(parts):
        join = i < len(ranked) and ranked[i] == best
        merged.append(parts[i] + parts[i + 1] if join else parts[i])
        i += 2 if join else 1
    return merged
