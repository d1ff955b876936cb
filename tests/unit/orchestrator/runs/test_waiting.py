from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.errors import Busy
from orchestrator.runs.records import RunRecord
from orchestrator.runs.waiting import Waiting
from tests.support.runs import record


def take(waiting: Waiting) -> RunRecord | None:
    """The next run, lent and begun."""
    run = waiting.lend()
    return None if run is None else waiting.remove(run.run_id)


@given(st.lists(st.tuples(st.sampled_from([-2.0, 0.0, 1.5, 3.0]), st.booleans()), max_size=40))
def test_smallest_number_first_then_first_come(entries: list[tuple[float, bool]]) -> None:
    waiting = Waiting(100, 10**6)
    for order, (number, _) in enumerate(entries):
        waiting.add(record(str(order), order=order, number=number))
    for order, (_, leaves) in enumerate(entries):
        if leaves:
            assert waiting.remove(str(order)) is not None
    expected = [run.run_id for run in waiting.ordered()]
    stay = [(number, order) for order, (number, leaves) in enumerate(entries) if not leaves]
    assert expected == [str(order) for _, order in sorted(stay)]
    taken = [take(waiting) for _ in expected]
    assert [run.run_id for run in taken if run] == expected
    assert take(waiting) is None and len(waiting) == 0


def test_a_run_that_comes_back_keeps_its_place() -> None:
    waiting = Waiting(2, 10**6)
    first, second = record("a", order=1), record("b", order=2)
    waiting.add(first)
    waiting.add(second)
    assert take(waiting) == first
    waiting.add(first)
    assert [run.run_id for run in waiting.ordered()] == ["a", "b"]
    assert take(waiting) == first


def test_bounds() -> None:
    waiting = Waiting(2, 100)
    waiting.check_room(10**9)  # one run always fits
    waiting.add(record("a", prompt_json=b"x" * 90))
    with pytest.raises(Busy):
        waiting.check_room(20)
    waiting.check_room(5)
    waiting.add(record("b", prompt_json=b"x"))
    with pytest.raises(Busy):
        waiting.check_room(0)
    waiting.remove("a")
    waiting.check_room(50)
