"""Results by key, bounded by bytes and entries; the least recently used leave first."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

_FLAT_BYTES = 64
"""What an object without a size of its own counts."""


@dataclass(frozen=True)
class Entry:
    """A finished node: one tuple of values per output slot (longer than one after list mapping).

    `ui` is what it showed, None: nothing; `meta` names the node that made it. Values with an attribute `lost` that
    becomes true (objects of another process that ended) end the entry.
    """

    outputs: tuple[tuple[object, ...], ...]
    ui: Mapping[str, object] | None
    meta: Mapping[str, object]


class ResultCache:
    """Used from the event loop's thread only."""

    def __init__(self, max_bytes: int, max_entries: int = 10_000) -> None:
        self._max_bytes = max_bytes
        self._max_entries = max_entries
        self._entries: OrderedDict[str, tuple[Entry, int, tuple[Any, ...]]] = OrderedDict()
        self._shown: dict[str, None] = {}  # keys of those that showed something; few, as `begin` drops the others'
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held; a tensor shared by two entries counts twice."""
        return self._nbytes

    def get(self, key: str) -> Entry | None:
        """The result, which is then the most recently used one."""
        found = self._entries.get(key)
        if found is None:
            return None
        if any(item.lost for item in found[2]):
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: str, entry: Entry) -> None:
        """Keeps the result if it fits at all."""
        self._drop(key)
        size, perishable = _measured((entry.outputs, entry.ui))
        if size > self._max_bytes or self._max_entries < 1:
            return
        self._entries[key] = (entry, size, perishable)
        if entry.ui is not None:
            self._shown[key] = None
        self._nbytes += size
        while self._nbytes > self._max_bytes or len(self._entries) > self._max_entries:
            self._drop(next(iter(self._entries)))

    def begin(self, keys: Collection[str]) -> None:
        """A prompt with these keys starts: what other prompts *showed* is forgotten.

        ComfyUI remembers the last prompt only. Values may live longer, but a file that was saved two prompts ago is
        saved again, under a new name, when its prompt comes again.
        """
        for key in [key for key in self._shown if key not in keys]:
            self._drop(key)

    def keep_only(self, keys: Collection[str]) -> None:
        """Drops everything else (memory is short)."""
        for key in [key for key in self._entries if key not in keys]:
            self._drop(key)

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()
        self._shown.clear()
        self._nbytes = 0

    def _drop(self, key: str) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self._shown.pop(key, None)
            self._nbytes -= found[1]


def size_of(value: object) -> int:
    """Bytes behind a value: `nbytes` of tensors and arrays wherever they sit in containers and dataclasses."""
    return _measured(value)[0]


def _measured(value: object) -> tuple[int, tuple[Any, ...]]:
    """(bytes, objects in it that can be lost)."""
    total = 0
    perishable: list[Any] = []
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        size = getattr(item, "nbytes", None)
        if isinstance(size, int):
            total += size
            if hasattr(item, "lost"):
                perishable.append(item)
        elif isinstance(item, (str, bytes, bytearray)):
            total += len(item)
        elif isinstance(item, Mapping):
            todo.extend(item.keys())
            todo.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            todo.extend(item)
        elif dataclasses.is_dataclass(item) and not isinstance(item, type):
            todo.extend(getattr(item, field.name) for field in dataclasses.fields(item))
        total += _FLAT_BYTES
    return total, tuple(perishable)
