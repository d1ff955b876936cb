"""The ring of all events and the log of one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kit.errors import Busy, NotFound, Unready
from orchestrator.engine.events import Executed, Executing, Previewed, Progress, Started
from orchestrator.runs.events import Ended, RunEvent
from orchestrator.runs.hub import Hub
from orchestrator.runs.records import RunState
from orchestrator.runs.run_log import RunLog
from tests.support.runs import event, picture


def hub(**limits: int) -> Hub:
    return Hub("epoch", **{"max_events": 100, "max_bytes": 10**6, "max_preview_bytes": 10**5, **limits})


async def take(events: AsyncIterator[RunEvent], count: int) -> list[int]:
    return [(await anext(events)).sequence for _ in range(count)]


async def taken(bursts: AsyncIterator[list[RunEvent]], count: int) -> list[int]:
    """Sequence numbers of the next bursts, which end with the event `count` events from here."""
    found: list[int] = []
    while len(found) < count:
        found += [each.sequence for each in await anext(bursts)]
    return found


async def test_each_watcher_reads_at_its_own_pace() -> None:
    ring = hub()
    early = ring.watch()
    for sequence in (1, 2, 3):
        ring.publish(event(sequence))
    late = ring.watch()
    waiting = asyncio.ensure_future(taken(late, 1))
    await asyncio.sleep(0)
    ring.publish(event(4))
    assert await waiting == [4]
    assert await taken(early, 4) == [1, 2, 3, 4]
    assert await taken(ring.watch(2, "epoch"), 2) == [3, 4]
    assert await taken(ring.watch(99, "another"), 1) == [1, 2, 3, 4]


async def test_who_falls_behind_is_told_and_nobody_else_notices() -> None:
    ring = hub(max_events=10)
    slow, quick = ring.watch(), ring.watch()
    for sequence in range(1, 3000):
        ring.publish(event(sequence))
        assert await taken(quick, 1) == [sequence]
    with pytest.raises(Busy) as caught:
        await anext(slow)
    assert caught.value.reason == "WATCHER_TOO_SLOW"
    with pytest.raises(NotFound):
        ring.watch(5, "epoch")
    assert await taken(ring.watch(2989, "epoch"), 10) == list(range(2990, 3000))


async def test_previews_leave_first() -> None:
    ring = hub(max_preview_bytes=3000)
    watcher = ring.watch()
    for sequence in range(1, 21):
        ring.publish(event(sequence, picture(1000) if sequence % 2 else None))
    assert await taken(watcher, 12) == [2, 4, 6, 8, 10, 12, 14, 16, 17, 18, 19, 20]


async def test_bursts_are_bounded() -> None:
    ring = hub(max_events=1000, max_bytes=10**7, max_preview_bytes=10**7)
    watcher = ring.watch(0, "another")
    for sequence in range(1, 101):
        ring.publish(event(sequence))
    for sequence in range(101, 111):
        ring.publish(event(sequence, picture(100_000)))
    sizes = []
    while sum(sizes) < 110:
        sizes.append(len(await anext(watcher)))
    assert sizes[0] == 64
    assert max(sizes[2:]) <= 3  # of 100 kB each


async def test_bytes_are_bounded() -> None:
    ring = hub(max_bytes=50_000)
    for sequence in range(1, 1000):
        ring.publish(event(sequence, Executed("1", "1", {"text": ["x" * 1000]})))
    assert sum(slot is not None for slot in ring._slots) < 50


async def test_a_stopped_ring_gives_what_it_has_and_ends() -> None:
    ring = hub()
    watcher = ring.watch()
    ring.publish(event(1))
    ring.stop()
    assert await taken(watcher, 1) == [1]
    with pytest.raises(Unready):
        await anext(watcher)


async def test_log_is_told_from_the_beginning_to_the_end() -> None:
    log = RunLog(100, 10**6)
    log.append(event(5, Started()))
    follower = log.follow()
    assert await take(follower, 1) == [5]
    log.append(event(6))
    log.append(event(7, Ended(RunState.SUCCEEDED)))
    assert [entry.sequence async for entry in follower] == [6, 7]
    assert [entry.sequence async for entry in log.follow()] == [5, 6, 7]


async def test_a_long_run_keeps_its_structure_and_the_newest_steps() -> None:
    log = RunLog(50, 10**6)
    log.append(event(1, Started()))
    log.append(event(2, Executing("1", "1")))
    for sequence in range(3, 1003, 2):
        log.append(event(sequence, picture(10)))
        log.append(event(sequence + 1, Progress("1", sequence, 1000)))
    log.append(event(1003))
    log.append(event(1004, Ended(RunState.SUCCEEDED)))
    seen = [entry async for entry in log.follow()]
    assert seen[0].sequence == 1 and seen[1].sequence == 2 and len(seen) <= 52
    assert [entry.sequence for entry in seen[-3:]] == [1002, 1003, 1004]


async def test_a_follower_in_the_middle_misses_nothing_that_matters() -> None:
    log = RunLog(20, 10**6)
    log.append(event(1, Started()))
    follower = log.follow()
    assert await take(follower, 1) == [1]
    for sequence in range(2, 200):
        log.append(event(sequence, Progress("1", sequence, 1000)))
    log.append(event(200))
    log.append(event(201, Ended(RunState.SUCCEEDED)))
    rest = [entry async for entry in follower]
    assert [entry.sequence for entry in rest[-2:]] == [200, 201]
    assert not any(isinstance(entry.body, Previewed) for entry in rest)
