"""Strict reader of a zip archive whose members are stored as they are, the container of `torch.save`.

The structure is PKWARE's APPNOTE 6.3. Accepted is only what leaves one reading: a directory that ends where its end
record begins, members that do not overlap, equal names at both places. Compressed and encrypted members are refused,
so a member is a byte range of the file and there is nothing to inflate.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NoReturn

from kit.errors import InvalidModel
from model_service.weights.file_window import FileWindow

MAX_DIRECTORY_BYTES = 32 << 20
MAX_MEMBERS = 1 << 17

_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_ASK_64 = 0xFFFFFFFF
_ASK_64_SHORT = 0xFFFF


@dataclass(frozen=True)
class Member:
    """One stored member: where its bytes lie in the archive's file."""

    name: str
    offset: int
    nbytes: int


@dataclass(frozen=True)
class _Directory:
    offset: int
    nbytes: int
    count: int


@dataclass(frozen=True)
class _Listed:
    """A directory entry: the name as bytes, the size, and where the member's own record begins."""

    name: bytes
    nbytes: int
    local: int


def looks_like_zip(start: bytes) -> bool:
    """Whether a file's first bytes are a zip member's."""
    return start.startswith(b"PK\x03\x04")


def read_members(window: FileWindow) -> dict[str, Member]:
    """All members by name; `InvalidModel` (ZIP_*) for anything but a plain archive of stored members."""
    directory = _find_directory(window)
    members: dict[str, Member] = {}
    free_from = 0
    for listed in sorted(_listed(window, directory), key=lambda item: item.local):
        if listed.local < free_from:
            _refuse(window, "members overlap", "ZIP_OVERLAP", member=_shown(listed.name))
        offset = _data_offset(window, listed)
        free_from = offset + listed.nbytes
        if free_from > directory.offset:
            _refuse(window, "a member reaches into the directory", "ZIP_OVERLAP", member=_shown(listed.name))
        try:
            name = listed.name.decode("utf-8")
        except UnicodeDecodeError:
            _refuse(window, "a member's name is not UTF-8", "ZIP_BROKEN", member=_shown(listed.name))
        if name in members:
            _refuse(window, "two members have one name", "ZIP_BROKEN", member=name)
        members[name] = Member(name, offset, listed.nbytes)
    return members


def _find_directory(window: FileWindow) -> _Directory:
    if window.size < _END.size:
        _refuse(window, "the archive has no end record: it is truncated", "WEIGHTS_TRUNCATED")
    end_at = _find_end(window)
    _, disk, start_disk, here, count, nbytes, offset, _ = _END.unpack(window.read(end_at, _END.size))
    plain = (disk, start_disk, here, count, nbytes, offset)
    stop = end_at
    if end_at >= _END64_LOCATOR.size:
        locator = window.read(end_at - _END64_LOCATOR.size, _END64_LOCATOR.size)
        if locator.startswith(b"PK\x06\x07"):
            _, _, stop, _ = _END64_LOCATOR.unpack(locator)
            offset, nbytes, count = _end64(window, stop, end_at - _END64_LOCATOR.size, plain)
        elif _ASK_64 in (nbytes, offset) or count == _ASK_64_SHORT:
            _refuse(window, "the archive's 64-bit end record is missing", "ZIP_BROKEN")
    if disk or start_disk or here not in (count, _ASK_64_SHORT) or offset + nbytes != stop:
        _refuse(window, "the directory does not end where its end record begins", "ZIP_BROKEN")
    if nbytes > MAX_DIRECTORY_BYTES or count > MAX_MEMBERS or count * _ENTRY.size > nbytes:
        _refuse(window, "the directory is larger than any model's", "ZIP_TOO_MANY", members=count, bytes=nbytes)
    return _Directory(offset, nbytes, count)


def _find_end(window: FileWindow) -> int:
    tail_at = max(0, window.size - _END.size - 0xFFFF)
    tail = window.read(tail_at, window.size - tail_at)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0:
        if len(tail) - at >= _END.size and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail):
            return tail_at + at
        at = tail.rfind(b"PK\x05\x06", 0, at)
    _refuse(window, "the archive has no end record: it is truncated", "WEIGHTS_TRUNCATED")


def _end64(window: FileWindow, at: int, stop: int, plain: tuple[int, ...]) -> tuple[int, int, int]:
    """Offset, size and count from the 64-bit record, which must agree with every plain field that is not a mark."""
    if at + _END64.size != stop:
        _refuse(window, "the 64-bit end record is not in its place", "ZIP_BROKEN")
    signature, _, _, _, disk, start_disk, here, count, nbytes, offset = _END64.unpack(window.read(at, _END64.size))
    marks = (_ASK_64_SHORT,) * 4 + (_ASK_64,) * 2
    wide = (disk, start_disk, here, count, nbytes, offset)
    agree = all(small in (mark, large) for small, mark, large in zip(plain, marks, wide, strict=True))
    if signature != b"PK\x06\x06" or disk or start_disk or here != count or not agree:
        _refuse(window, "the two end records contradict each other", "ZIP_BROKEN")
    return offset, nbytes, count


def _listed(window: FileWindow, directory: _Directory) -> list[_Listed]:
    raw = window.read(directory.offset, directory.nbytes)
    found: list[_Listed] = []
    at = 0
    for _ in range(directory.count):
        if at + _ENTRY.size > len(raw):
            _refuse(window, "the directory ends inside an entry", "ZIP_BROKEN")
        fields = _ENTRY.unpack_from(raw, at)
        signature, _, _, flags, method = fields[:5]
        packed, plain, name_length, extra_length, comment_length, disk = fields[8:14]
        name_at = at + _ENTRY.size
        name = raw[name_at : name_at + name_length]
        extra = raw[name_at + name_length : name_at + name_length + extra_length]
        at = name_at + name_length + extra_length + comment_length
        if signature != b"PK\x01\x02" or at > len(raw) or disk:
            _refuse(window, "a directory entry is broken", "ZIP_BROKEN")
        if flags & _ENCRYPTED:
            _refuse(window, "a member is encrypted", "ZIP_ENCRYPTED", member=_shown(name))
        plain, packed, local = _wide(window, extra, plain, packed, fields[16])
        if method or packed != plain:
            _refuse(window, "a member is compressed", "ZIP_COMPRESSED", member=_shown(name), method=method)
        found.append(_Listed(name, plain, local))
    if at != len(raw):
        _refuse(window, "the directory has more entries than it counts", "ZIP_BROKEN")
    return found


def _wide(window: FileWindow, extra: bytes, plain: int, packed: int, local: int) -> tuple[int, int, int]:
    """Sizes and place of a member with the 64-bit extra field (id 1) put in where a value is a mark."""
    asked = [value == _ASK_64 for value in (plain, packed, local)]
    if not any(asked):
        return plain, packed, local
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1 and length >= 8 * sum(asked) and at + 4 + length <= len(extra):
            wide = iter(struct.unpack_from(f"<{sum(asked)}Q", extra, at + 4))
            values = [next(wide) if ask else value for ask, value in zip(asked, (plain, packed, local), strict=True)]
            return values[0], values[1], values[2]
        at += 4 + length
    _refuse(window, "a member's 64-bit sizes are missing", "ZIP_BROKEN")


def _data_offset(window: FileWindow, listed: _Listed) -> int:
    fields = _LOCAL.unpack(window.read(listed.local, _LOCAL.size))
    signature, _, flags, method = fields[:4]
    name_length: int = fields[9]
    extra_length: int = fields[10]
    if signature != b"PK\x03\x04" or method or flags & _ENCRYPTED:
        _refuse(window, "a member's own record contradicts the directory", "ZIP_BROKEN", member=_shown(listed.name))
    if window.read(listed.local + _LOCAL.size, name_length) != listed.name:
        _refuse(window, "a member has two names", "ZIP_BROKEN", member=_shown(listed.name))
    return listed.local + _LOCAL.size + name_length + extra_length


def _shown(name: bytes) -> str:
    return name[:80].decode("utf-8", "backslashreplace")


def _refuse(window: FileWindow, message: str, reason: str, **facts: object) -> NoReturn:
    raise InvalidModel(message, reason=reason, file=window.path.name, **facts)
