"""The few hundred of CLIP's 49408 tokens that captions use; everything else counts as one unknown word."""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache

from orchestrator.text.tokenizer import token_ids
from orchestrator.text.vocabulary import END, START
from training.captions import FILLERS, training_caption
from training.scenes import training_scene

ROW = 77
UNKNOWN = 0  # its row in the small table; the start and end tokens follow
_SAMPLE = 2000  # captions that certainly show every word


@cache
def known_tokens() -> tuple[int, ...]:
    """Token ids of rows 1, 2, ... of the small table, start and end first."""
    seen: set[int] = set()
    for number in range(_SAMPLE):
        seen.update(token_ids(training_caption(training_scene(number), random.Random(f"words {number}"))))
    seen.update(token_ids("1 2 3 4 , and a an the"))
    seen -= {token for filler in FILLERS for token in token_ids(filler)}
    return (START, END, *sorted(seen))


def prompt_rows(captions: Iterable[str]) -> tuple[list[list[int]], list[list[int]]]:
    """For each caption 77 token ids and the rows of the small table that they have."""
    rows = {token: number for number, token in enumerate(known_tokens(), start=1)}
    tokens = [_padded(token_ids(caption)) for caption in captions]
    return tokens, [[rows.get(token, UNKNOWN) for token in prompt] for prompt in tokens]


def _padded(ids: tuple[int, ...]) -> list[int]:
    inner = ids[: ROW - 2]
    return [START, *inner, *(END,) * (ROW - 1 - len(inner))]
