"""Order and rhythm of what is told."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.runs.pace import Pace
from orchestrator.runs.voice import MAX_HELD, Voice


def test_few_go_at_once_and_many_in_a_rhythm() -> None:
    now = 100.0
    pace = Pace(at_once=3, gap_s=0.5, clock=lambda: now)
    assert [pace.pause_s() for _ in range(5)] == pytest.approx([0, 0, 0, 0.5, 1.0])
    now = 101.0
    assert pace.pause_s() == pytest.approx(0.5)
    now = 200.0
    assert [pace.pause_s() for _ in range(4)] == pytest.approx([0, 0, 0, 0.5])


async def test_what_must_be_stored_first_holds_back_what_follows() -> None:
    said: list[str] = []
    voice = Voice()
    one, two = (asyncio.get_running_loop().create_future() for _ in range(2))
    voice.say(lambda: said.append("a"))
    voice.say(lambda: said.append("end one"), one)
    voice.say(lambda: said.append("b"))
    voice.say(lambda: said.append("end two"), two)
    voice.say(lambda: said.append("c"))
    assert said == ["a"]
    two.set_result(None)
    await asyncio.sleep(0)
    assert said == ["a"]
    one.set_result(None)
    await asyncio.sleep(0)
    assert said == ["a", "end one", "b", "end two", "c"]
    voice.say(lambda: said.append("d"), two)
    assert said[-1] == "d"


async def test_much_that_is_held_back_stops_the_reader() -> None:
    voice = Voice()
    stored = asyncio.get_running_loop().create_future()
    voice.say(lambda: None, stored)
    for _ in range(MAX_HELD):
        voice.say(lambda: None)
    room = asyncio.ensure_future(voice.room())
    await asyncio.sleep(0)
    assert not room.done()
    stored.set_result(None)
    await room
