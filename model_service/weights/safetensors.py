"""Strict reader of a `.safetensors` header; no weight is read.

The format (https://github.com/huggingface/safetensors#format): 8 bytes little-endian length N, N bytes of JSON, data.
The JSON is read by a parser of our own over a known, flat structure: nothing nested is ever built, so a hostile
header costs memory in proportion to its length and to the tensor limit only.
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from kit.errors import InvalidModel
from kit.tensors import BY_SAFETENSORS, MAX_DIMENSIONS
from model_service.weights.file_window import FileWindow
from model_service.weights.header import Header, TensorEntry

MAX_HEADER_BYTES = 100_000_000
MAX_TENSORS = 1 << 18
MAX_NAME_CHARACTERS = 4096
MAX_ENTRY_CHARACTERS = 4096
MAX_SIDE = (1 << 63) - 1
LENGTH_BYTES = 8

_SPACE = re.compile(r"[ \t\n\r]*")
_FIELDS = frozenset({"dtype", "shape", "data_offsets"})


def looks_like_safetensors(start: bytes) -> bool:
    """Whether a file's first bytes are a credible length (under 1 TB) followed by a JSON object."""
    return start[5 : LENGTH_BYTES + 1] == b"\0\0\0{"


def read_safetensors(window: FileWindow) -> Header:
    """The header of an open `.safetensors` file; `InvalidModel` with facts for anything that is not strictly one."""
    (length,) = struct.unpack("<Q", window.read(0, LENGTH_BYTES))
    room = window.size - LENGTH_BYTES
    if length > room or length > MAX_HEADER_BYTES:
        raise InvalidModel(
            "the header is longer than the file or than the limit",
            reason="WEIGHTS_HEADER", file=window.path.name, header_bytes=length, file_bytes=window.size,
            limit=MAX_HEADER_BYTES,
        )  # fmt: skip
    try:
        text = window.read(LENGTH_BYTES, length).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidModel(
            "the header is not UTF-8", reason="WEIGHTS_HEADER", file=window.path.name, at=error.start
        ) from None
    parser = _HeaderParser(window.path, text)
    parser.parse()
    tensors = _placed(window, parser.entries, LENGTH_BYTES + length)
    return Header(window.path, tensors, parser.metadata)


def _placed(window: FileWindow, entries: list[TensorEntry], data_start: int) -> dict[str, TensorEntry]:
    """Entries with absolute offsets; the data must be covered completely, in one piece and without overlap."""
    expected = 0
    placed: dict[str, TensorEntry] = {}
    for entry in sorted(entries, key=lambda item: (item.offset, item.nbytes)):
        if entry.offset != expected:
            raise InvalidModel(
                "tensors overlap or leave a hole",
                reason="WEIGHTS_HEADER", file=window.path.name, tensor=entry.name, offset=entry.offset,
                expected=expected,
            )  # fmt: skip
        expected += entry.nbytes
        placed[entry.name] = TensorEntry(entry.name, entry.dtype, entry.shape, data_start + entry.offset, entry.nbytes)
    if data_start + expected != window.size:
        raise InvalidModel(
            "the file is truncated or has more data than its header describes",
            reason="WEIGHTS_TRUNCATED" if data_start + expected > window.size else "WEIGHTS_HEADER",
            file=window.path.name, described_bytes=data_start + expected, file_bytes=window.size,
        )  # fmt: skip
    return {entry.name: placed[entry.name] for entry in entries}


class _HeaderParser:
    """One pass over `{"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets"}, ...}` and spaces."""

    def __init__(self, path: Path, text: str) -> None:
        self.entries: list[TensorEntry] = []
        self.metadata: dict[str, str] = {}
        self._path = path
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(object_pairs_hook=self._unique, parse_constant=self._no_constant)

    def parse(self) -> None:
        """Fill `entries` (offsets relative to the data) and `metadata`."""
        seen: set[str] = set()

        def member(name: str) -> None:
            if name in seen:
                self._refuse("a name occurs twice", tensor=name)
            seen.add(name)
            if name == "__metadata__":
                self._object(self._metadata_member)
            else:
                self.entries.append(self._entry(name))
                if len(self.entries) > MAX_TENSORS:
                    self._refuse("more tensors than any model has", limit=MAX_TENSORS)

        self._object(member)
        self._skip_space()
        if self._at != len(self._text):
            self._refuse("text follows the header's object")

    def _object(self, member: Callable[[str], None]) -> None:
        """Read `{ "key": <member> , ... }`; `member` reads the value at the current position."""
        self._expect("{")
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            name = self._string()
            self._expect(":")
            self._skip_space()
            member(name)
            if self._peek() == "}":
                self._at += 1
                return
            self._expect(",")

    def _metadata_member(self, name: str) -> None:
        if name in self.metadata:
            self._refuse("a name occurs twice", metadata=name)
        self.metadata[name] = self._string()

    def _entry(self, name: str) -> TensorEntry:
        if len(name) > MAX_NAME_CHARACTERS:
            self._refuse("a tensor's name is too long", characters=len(name))
        self._skip_space()
        end = self._text.find("}", self._at, self._at + MAX_ENTRY_CHARACTERS)
        if end < 0 or self._text[self._at] != "{":
            self._refuse("a tensor is described by no flat object", tensor=name)
        try:
            fields, stop = self._decoder.raw_decode(self._text[self._at : end + 1])
        except (ValueError, RecursionError):
            self._refuse("a tensor's description is not JSON", tensor=name)
        self._at += stop
        if set(fields) != _FIELDS:
            self._refuse("a tensor has not exactly dtype, shape and data_offsets", tensor=name)
        return self._checked(name, fields["dtype"], fields["shape"], fields["data_offsets"])

    def _checked(self, name: str, dtype: object, shape: object, offsets: object) -> TensorEntry:
        kind = BY_SAFETENSORS.get(dtype) if isinstance(dtype, str) else None
        if kind is None or kind.safetensors is None:
            self._refuse("a tensor has an unknown dtype", tensor=name, dtype=str(dtype)[:32])
        sides, span = self._sizes(name, shape, MAX_DIMENSIONS), self._sizes(name, offsets, 2)
        if len(span) != 2 or span[0] > span[1]:
            self._refuse("a tensor's data_offsets are no range", tensor=name)
        bits = math.prod(sides) * kind.bits
        if bits != (span[1] - span[0]) * 8:
            self._refuse(
                "a tensor's bytes do not fit its shape", tensor=name, dtype=kind.safetensors, shape=list(sides),
                bytes=span[1] - span[0],
            )  # fmt: skip
        return TensorEntry(name, kind.safetensors, sides, span[0], span[1] - span[0])

    def _sizes(self, name: str, value: object, most: int) -> tuple[int, ...]:
        if not isinstance(value, list) or len(value) > most:
            self._refuse("a tensor's shape or data_offsets is no short list", tensor=name)
        for side in value:
            if type(side) is not int or not 0 <= side <= MAX_SIDE:
                self._refuse("a tensor's shape or data_offsets has a value that is no size", tensor=name)
        return tuple(value)

    def _string(self) -> str:
        if self._peek() != '"':
            self._refuse("text was expected")
        try:
            value, self._at = self._decoder.raw_decode(self._text, self._at)
            value.encode("utf-8")  # half of a surrogate pair could never leave this process again
        except ValueError:
            self._refuse("text in the header is broken")
        return str(value)

    def _expect(self, sign: str) -> None:
        if self._peek() != sign:
            self._refuse("the header is not the expected JSON", expected=sign)
        self._at += 1

    def _peek(self) -> str:
        self._skip_space()
        return self._text[self._at : self._at + 1]

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = self._at if space is None else space.end()

    def _unique(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            self._refuse("a field occurs twice")
        return fields

    def _no_constant(self, word: str) -> NoReturn:
        self._refuse("NaN and Infinity are no sizes", word=word)

    def _refuse(self, message: str, **facts: object) -> NoReturn:
        raise InvalidModel(message, reason="WEIGHTS_HEADER", file=self._path.name, at=self._at, **facts)
