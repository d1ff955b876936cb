"""References to textual inversions in a prompt: `embedding:name`, at the start of a run or after a blank."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

_MARK = "embedding:"
_SPLIT = re.compile(rf"[ \n]{_MARK}")
EXTENSIONS = (".safetensors", ".pt", ".bin")


@dataclass(frozen=True)
class EmbeddingName:
    """The file name of a textual inversion that exists."""

    file: str


Find = Callable[[str], str | None]


def pieces(text: str, find: Find, unknown: Callable[[str], None]) -> tuple[str | EmbeddingName, ...]:
    """Text and embeddings in order; names for which `find` gives None go to `unknown` and are left out."""
    first, *others = _SPLIT.split(text)
    out: list[str | EmbeddingName] = []
    for part in [first, *(_MARK + other for other in others)]:
        rest = part
        if part.startswith(_MARK):
            rest = _reference(part[len(_MARK) :], out, find, unknown)
        if rest:
            out.append(rest)
    return tuple(out)


def _reference(text: str, out: list[str | EmbeddingName], find: Find, unknown: Callable[[str], None]) -> str:
    """Appends what the reference means to `out` and returns the text behind it."""
    name, *others = text.split() or [""]
    rest = " ".join(others)
    file = find(name)
    bare = name.strip(",")
    if file is None and bare != name:
        file, rest = find(bare), f"{name[len(bare) :]} {rest}"
    if file is None:
        unknown(bare)
    else:
        out.append(EmbeddingName(file))
    return rest


def finder(files: Collection[str]) -> Find:
    """Looks a name up among `files`: as it stands, then with each extension."""

    def find(name: str) -> str | None:
        return next((name + ending for ending in ("", *EXTENSIONS) if name and name + ending in files), None)

    return find
