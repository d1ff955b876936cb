"""Parts and conditions; the whole table is in the contract tests."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rest_bridge.conditional import FileState, Plan, plan

FILE = FileState(10, 1_795_381_797_123_456_789)


def test_tags_and_dates_are_the_recorded_ones() -> None:
    recorded = FileState(2, 0x18EA7A3B66CD58A2)
    assert recorded.etag == '"18ea7a3b66cd58a2-2"'
    assert recorded.last_modified == "Sun, 22 Nov 2026 21:09:58 GMT"


def test_a_date_of_the_same_second_is_fresh() -> None:
    assert plan({"if-modified-since": FILE.last_modified}, FILE) == Plan(304)


@given(st.integers(0, 30), st.integers(0, 30))
def test_any_part_lies_within_the_file(first: int, last: int) -> None:
    chosen = plan({"range": f"bytes={first}-{last}"}, FILE)
    if first <= last and first < FILE.size:
        assert chosen == Plan(206, first, min(last, 9) - first + 1)
    else:
        assert chosen == Plan(416)


@given(st.text())
def test_no_header_breaks_it(value: str) -> None:
    for name in ("range", "if-range", "if-none-match", "if-match", "if-modified-since", "if-unmodified-since"):
        assert plan({name: value, "range": value}, FILE).status in (200, 206, 304, 412, 416)
