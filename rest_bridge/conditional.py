"""Conditional and partial GET (RFC 9110) for stored files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime

_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class FileState:
    """Size in bytes and modification time in Unix nanoseconds."""

    size: int
    modified_ns: int

    @property
    def etag(self) -> str:
        """Strong tag: time and size in hex, as aiohttp makes it."""
        return f'"{self.modified_ns:x}-{self.size:x}"'

    @property
    def modified_s(self) -> int:
        """Unix seconds, rounded up: a date we sent is never before the change."""
        return -(-self.modified_ns // 1_000_000_000)

    @property
    def last_modified(self) -> str:
        """HTTP date."""
        return formatdate(self.modified_s, usegmt=True)


@dataclass(frozen=True)
class Plan:
    """What to answer: status, and which bytes of the file."""

    status: int
    offset: int = 0
    length: int = 0


def plan(headers: Mapping[str, str], file: FileState) -> Plan:
    """200, 206, 304, 412 or 416 for these request headers (lower-case names)."""
    if _fails_precondition(headers, file):
        return Plan(412)
    if _is_fresh(headers, file):
        return Plan(304)
    wanted = headers.get("range")
    if wanted is None or not _range_applies(headers.get("if-range"), file):
        return Plan(200, 0, file.size)
    return _part(wanted, file.size)


def is_current(headers: Mapping[str, str], etag: str) -> bool:
    """Whether the client has what this tag (weak or not) names."""
    return "if-none-match" in headers and _names(headers["if-none-match"], etag.removeprefix("W/"))


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client takes a gzipped body."""
    for part in headers.get("accept-encoding", "").lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return _REFUSED.fullmatch(weight.strip()) is None
    return False


def _part(wanted: str, size: int) -> Plan:
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match.groups() == ("", ""):
        return Plan(416)
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if not last else min(size, int(last) + 1)
    return Plan(206, start, stop - start) if start < stop else Plan(416)


def _fails_precondition(headers: Mapping[str, str], file: FileState) -> bool:
    if "if-match" in headers:
        return not _names(headers["if-match"], file.etag)
    return "if-unmodified-since" in headers and _changed_since(headers["if-unmodified-since"], file) is True


def _is_fresh(headers: Mapping[str, str], file: FileState) -> bool:
    if "if-none-match" in headers:
        return _names(headers["if-none-match"], file.etag)
    return "if-modified-since" in headers and _changed_since(headers["if-modified-since"], file) is False


def _range_applies(if_range: str | None, file: FileState) -> bool:
    if if_range is None:
        return True
    if if_range.startswith('"'):
        return if_range == file.etag
    return _changed_since(if_range, file) is False


def _names(listed: str, etag: str) -> bool:
    return listed.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in listed.split(",")}


def _changed_since(date: str, file: FileState) -> bool | None:
    """None: no date that can be read, so the header does not count."""
    try:
        limit = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return file.modified_s > limit
