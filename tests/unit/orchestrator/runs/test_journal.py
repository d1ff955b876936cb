from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kit.errors import Busy, Conflict, Internal, Unready, Unsupported
from orchestrator.runs import store
from orchestrator.runs.journal import Journal
from orchestrator.runs.records import RunState
from tests.support.runs import record


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path / "runs.db")
    yield opened
    await opened.close()


async def test_what_is_written_is_read(journal: Journal) -> None:
    run = record("a", order=1, outputs_to_execute=("1", "2"), number=-1.5, number_given=True, prompt_json=b'{"x": 1}')
    await journal.post(store.insert(run, 7))
    assert await journal.read(store.unfinished) == [run]
    assert await journal.read(store.one("a")) == run
    assert await journal.read(store.counter) == 7
    assert await journal.read(store.last_ordinal) == 1


async def test_commits_are_shared_and_ordered(journal: Journal) -> None:
    commits: list[int] = []
    journal._writer.set_trace_callback(lambda text: commits.append(1) if text == "COMMIT" else None)
    blocked = journal.post(lambda connection: connection.execute("SELECT 1").fetchone()[0])
    posted = [journal.post(store.insert(record(f"r{n}", order=n), n)) for n in range(1, 101)]
    await asyncio.gather(blocked, *posted)
    assert [run.run_id for run in await journal.read(store.unfinished)] == [f"r{n}" for n in range(1, 101)]
    assert len(commits) < 20


async def test_one_bad_write_does_not_take_its_neighbours_along(journal: Journal) -> None:
    def bad(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO counters VALUES ('half', 1)")
        raise ValueError("no")

    futures = [
        journal.post(store.insert(record("a", order=1), 1)),
        journal.post(bad),
        journal.post(store.insert(record("a", order=2), 1)),
        journal.post(store.insert(record("b", order=3), 1)),
    ]
    results = await asyncio.gather(*futures, return_exceptions=True)
    assert results[0] is None and isinstance(results[1], ValueError) and results[3] is None
    assert isinstance(results[2], Internal)
    assert [run.run_id for run in await journal.read(store.unfinished)] == ["a", "b"]
    halves = await journal.read(lambda c: c.execute("SELECT count(*) FROM counters WHERE name='half'").fetchone()[0])
    assert halves == 0


async def test_a_full_disk_is_told_and_passes(journal: Journal) -> None:
    (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
    await journal.post(lambda connection: connection.execute(f"PRAGMA max_page_count={pages + 2}").fetchone())
    with pytest.raises(Busy) as caught:
        await journal.post(store.insert(record("big", order=1, prompt_json=b"x" * 200_000), 1))
    assert caught.value.reason == "DISK_FULL"
    await journal.post(store.insert(record("small", order=2), 1))
    assert [run.run_id for run in await journal.read(store.unfinished)] == ["small"]


async def test_finished_runs(journal: Journal) -> None:
    for number in (1, 2, 3):
        run = record(f"r{number}", order=number)
        await journal.post(store.insert(run, 1))
        ended = replace(run, state=RunState.FAILED, ended_ms=9, outputs_json=b'{"1": {}}', messages_json=b"[1]")
        await journal.post(store.finish(ended, number, ["r1"] if number == 3 else []))
    runs, cut = await journal.read(store.history(1, 3, 1000))
    assert ([run.run_id for run in runs], cut) == (["r2", "r3"], False)
    assert runs[0].state is RunState.FAILED and runs[0].outputs_json == b'{"1": {}}'
    runs, cut = await journal.read(store.history(1, 3, 20))
    assert (len(runs), cut) == (1, True)
    assert [row[0] for row in await journal.read(store.finished_receipts)] == ["r2", "r3"]
    counts = await journal.read(
        lambda c: [c.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("prompts", "results")]
    )
    assert counts == [2, 2]


async def test_the_store_belongs_to_one_process(journal: Journal, tmp_path: Path) -> None:
    with pytest.raises(Conflict):
        Journal(tmp_path / "runs.db")


async def test_a_newer_or_broken_file_is_refused(tmp_path: Path) -> None:
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(Unsupported):
        Journal(newer)
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    with pytest.raises(Unready):
        Journal(broken)


async def test_durability_settings(journal: Journal) -> None:
    facts = [journal._writer.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert facts == ["wal", 2]
