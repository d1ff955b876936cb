"""SQL of the run table, one function a statement; writers run inside the journal's transactions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence

from orchestrator.runs.measured import Pace
from orchestrator.runs.records import HistoryOrder, RunRecord, RunState, Selection

Write = Callable[[sqlite3.Connection], None]

_SELECT = (
    "SELECT run_id, ordinal, number, number_given, prompt, extra, client_id, outputs_to_execute, node_errors, "
    "body_hash, created_ms, state, attempts, losses, lease_id, cancelled, started_ms, ended_ms, "
    "coalesce(outputs, x'7b7d'), coalesce(messages, x'5b5d'), coalesce(meta, x'7b7d') "
    "FROM runs JOIN prompts USING (ordinal) LEFT JOIN results USING (ordinal) "
)


def insert(run: RunRecord, counter: int) -> Write:
    """Adds a pending run and remembers the server's counter."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            (
                run.order, run.run_id, run.number, run.number_given, run.client_id, json.dumps(run.outputs_to_execute),
                run.node_errors_json, run.body_hash, int(run.state), run.attempts, run.losses, run.lease_id,
                run.cancelled, run.created_ms, run.started_ms, run.ended_ms,
            ),
        )  # fmt: skip
        connection.execute("INSERT INTO prompts VALUES (?, ?, ?)", (run.order, run.prompt_json, run.extra_data_json))
        connection.execute("INSERT OR REPLACE INTO counters VALUES ('number', ?)", (counter,))

    return write


def update_progress(run: RunRecord) -> Write:
    """Stores where an unfinished run stands."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE runs SET state=?, attempts=?, losses=?, lease_id=?, cancelled=?, started_ms=? WHERE run_id=?",
            (int(run.state), run.attempts, run.losses, run.lease_id, run.cancelled, run.started_ms, run.run_id),
        )

    return write


def finish(run: RunRecord, finished: int, forget: Sequence[str]) -> Write:
    """Moves a run into history as number `finished`, and drops the entries that no longer fit."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE runs SET state=?, attempts=?, losses=?, lease_id='', cancelled=?, started_ms=?, ended_ms=?, "
            "finished=? WHERE run_id=?",
            (
                int(run.state), run.attempts, run.losses, run.cancelled, run.started_ms, run.ended_ms, finished,
                run.run_id,
            ),
        )  # fmt: skip
        connection.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?)", (run.order, run.outputs_json, run.messages_json, run.meta_json)
        )
        _delete(connection, forget)

    return write


def replace_extra(run: RunRecord) -> Write:
    """Stores another extra_data (credentials removed)."""
    values = (run.extra_data_json, run.order)
    return lambda connection: void(connection.execute("UPDATE prompts SET extra=? WHERE ordinal=?", values))


def void(_: object) -> None:
    """Drops a statement's cursor."""


def delete(run_ids: Iterable[str]) -> Write:
    """Removes runs altogether."""
    ids = tuple(run_ids)
    return lambda connection: _delete(connection, ids)


def counter(connection: sqlite3.Connection) -> int:
    """The next number of the server's counter."""
    row = connection.execute("SELECT value FROM counters WHERE name='number'").fetchone()
    return int(row[0]) if row else 0


def paces(connection: sqlite3.Connection) -> list[Pace]:
    """How long nodes took, by class."""
    rows = connection.execute("SELECT class_type, seconds, runs FROM paces").fetchall()
    return [Pace(class_type, seconds, runs) for class_type, seconds, runs in rows]


def keep_paces(paces: Iterable[Pace]) -> Write:
    """Stores what is known of classes."""
    rows = [(pace.class_type, pace.seconds, pace.runs) for pace in paces]

    def write(connection: sqlite3.Connection) -> None:
        connection.executemany("INSERT OR REPLACE INTO paces VALUES (?, ?, ?)", rows)

    return write


def unfinished(connection: sqlite3.Connection) -> list[RunRecord]:
    """Pending and running runs in the order of submission."""
    rows = connection.execute(_SELECT + "WHERE finished IS NULL ORDER BY ordinal")
    return [_record(row) for row in rows]


def last_ordinal(connection: sqlite3.Connection) -> int:
    """The largest order of any stored run; 0: none."""
    return int(connection.execute("SELECT coalesce(max(ordinal), 0) FROM runs").fetchone()[0])


def finished_receipts(connection: sqlite3.Connection) -> list[tuple[str, bytes, float, bool, bytes, int]]:
    """(run_id, body_hash, number, number_given, node_errors, finished) of the history, oldest first."""
    return connection.execute(
        "SELECT run_id, body_hash, number, number_given, node_errors, finished FROM runs "
        "WHERE finished IS NOT NULL ORDER BY finished"
    ).fetchall()


def one(run_id: str) -> Callable[[sqlite3.Connection], RunRecord | None]:
    """A run by id."""

    def query(connection: sqlite3.Connection) -> RunRecord | None:
        row = connection.execute(_SELECT + "WHERE run_id=?", (run_id,)).fetchone()
        return _record(row) if row else None

    return query


def history(first: int, last: int, max_bytes: int) -> Callable[[sqlite3.Connection], tuple[list[RunRecord], bool]]:
    """Finished runs whose number lies in [first, last], oldest first; True: cut off at `max_bytes`."""

    def query(connection: sqlite3.Connection) -> tuple[list[RunRecord], bool]:
        rows = connection.execute(_SELECT + "WHERE finished BETWEEN ? AND ? ORDER BY finished", (first, last))
        runs: list[RunRecord] = []
        size = 0
        for row in rows:
            run = _record(row)
            size += run.bytes + len(run.outputs_json) + len(run.messages_json) + len(run.meta_json)
            if size > max_bytes:
                return runs, True
            runs.append(run)
        return runs, False

    return query


_WORKFLOW = "json_extract(CAST(extra AS TEXT), '$.extra_pnginfo.workflow.id')"
_ORDERS = {
    HistoryOrder.ENDED: "finished",
    HistoryOrder.CREATED: "created_ms",
    HistoryOrder.DURATION: "ended_ms - started_ms",
}
# The column list is that of _SELECT, without what was submitted.
_SUMMARY = (
    "SELECT run_id, ordinal, number, number_given, x'', x'', client_id, outputs_to_execute, x'', "
    "x'', created_ms, state, attempts, losses, lease_id, cancelled, started_ms, ended_ms, "
    "coalesce(outputs, x'7b7d'), coalesce(messages, x'5b5d'), coalesce(meta, x'7b7d'), "
    f"CASE WHEN json_valid(CAST(extra AS TEXT)) AND typeof({_WORKFLOW}) = 'text' THEN {_WORKFLOW} ELSE '' END "
    "FROM runs JOIN prompts USING (ordinal) LEFT JOIN results USING (ordinal) "
)


def selected(
    selection: Selection, offset: int, max_items: int | None, max_bytes: int
) -> Callable[[sqlite3.Connection], tuple[list[RunRecord], int, bool]]:
    """Finished runs without what was submitted, how many the selection has, and True: cut off at `max_bytes`."""
    where, values = "finished IS NOT NULL", list[object]()
    if selection.states:
        where += f" AND state IN ({', '.join('?' * len(selection.states))})"
        values += map(int, selection.states)
    source = "runs"
    if selection.workflow_id is not None:
        source += " JOIN prompts USING (ordinal)"
        where += f" AND json_valid(CAST(extra AS TEXT)) AND {_WORKFLOW} = ?"
        values.append(selection.workflow_id)
    direction = "DESC" if selection.descending else "ASC"
    order = f"ORDER BY {_ORDERS[selection.order]} {direction}, finished"
    part = [-1 if max_items is None else max_items, offset]

    def query(connection: sqlite3.Connection) -> tuple[list[RunRecord], int, bool]:
        (total,) = connection.execute(f"SELECT count(*) FROM {source} WHERE {where}", values).fetchone()
        chosen = f"SELECT ordinal FROM {source} WHERE {where} {order} LIMIT ? OFFSET ?"
        rows = connection.execute(f"{_SUMMARY} WHERE ordinal IN ({chosen}) {order}", [*values, *part])
        runs: list[RunRecord] = []
        size = 0
        for row in rows:
            run = _record(row)
            size += len(run.outputs_json) + len(run.messages_json) + len(run.meta_json)
            if runs and size > max_bytes:
                return runs, total, True
            runs.append(run)
        return runs, total, False

    return query


def _delete(connection: sqlite3.Connection, run_ids: Sequence[str]) -> None:
    connection.executemany("DELETE FROM runs WHERE run_id=?", [(run_id,) for run_id in run_ids])


def _record(row: Sequence[object]) -> RunRecord:
    values = list(row)
    values[3], values[15] = bool(values[3]), bool(values[15])
    values[7] = tuple(json.loads(str(values[7])))
    values[11] = RunState(int(str(values[11])))
    return RunRecord(*values)  # type: ignore[arg-type]  # the column list is the field list
