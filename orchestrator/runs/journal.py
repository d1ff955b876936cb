"""The durable side of the queue: one SQLite file, one writer thread, one fsync for whatever arrived meanwhile.

A write's future resolves after its commit is on the disk (WAL, synchronous=FULL), so an answer given after it holds
through kill -9 and through power loss. Reads use a connection and a thread of their own and never wait for writers.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kit import telemetry
from kit.errors import Busy, Conflict, Internal, Unready, Unsupported

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

_BATCH = 512  # bounds how long one commit can keep its first caller waiting
_VERSION = 1
_SCHEMA = """
CREATE TABLE runs (
  ordinal INTEGER PRIMARY KEY, run_id TEXT NOT NULL UNIQUE, number REAL NOT NULL, number_given INTEGER NOT NULL,
  client_id TEXT NOT NULL, outputs_to_execute TEXT NOT NULL, node_errors BLOB NOT NULL, body_hash BLOB NOT NULL,
  state INTEGER NOT NULL, attempts INTEGER NOT NULL, losses INTEGER NOT NULL, lease_id TEXT NOT NULL,
  cancelled INTEGER NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,
  finished INTEGER
);
CREATE UNIQUE INDEX runs_finished ON runs (finished) WHERE finished IS NOT NULL;
-- Apart from the row that every lease changes, because a prompt may carry megabytes.
CREATE TABLE prompts (
  ordinal INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE, prompt BLOB NOT NULL, extra BLOB NOT NULL
);
CREATE TABLE results (
  ordinal INTEGER PRIMARY KEY REFERENCES runs ON DELETE CASCADE,
  outputs BLOB NOT NULL, messages BLOB NOT NULL, meta BLOB NOT NULL
);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""

# Later additions, of which older releases need not know.
_ADDED = "CREATE TABLE IF NOT EXISTS paces (class_type TEXT PRIMARY KEY, seconds REAL NOT NULL, runs INTEGER NOT NULL)"

_Job = tuple[Operation[Any], asyncio.Future[Any]]


class Journal:
    """Serialises writes and groups them into commits. Open it inside the running event loop."""

    def __init__(self, path: Path) -> None:
        """Raises Conflict if another process holds the file, Unready if it cannot be opened, Unsupported if newer."""
        self._loop = asyncio.get_running_loop()
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self._writer = _connect(path)
            _migrate(self._writer, path)
            self._reader = _connect(path, read_only=True)
        except sqlite3.Error as problem:
            os.close(self._lock)
            raise Unready("cannot open the run store", reason="STORE", path=path, cause=problem) from problem
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads = ThreadPoolExecutor(1, thread_name_prefix="journal-read")
        self._thread = threading.Thread(target=self._write_all, name="journal-write", daemon=True)
        self._thread.start()

    def post(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queues a write behind all earlier ones; the future resolves when it is durable.

        It fails with Busy (DISK_FULL) or Internal, and then nothing of that operation was stored.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((operation, future))
        return future

    async def read(self, query: Operation[T]) -> T:
        """Runs a query on the committed state."""
        return await self._loop.run_in_executor(self._reads, query, self._reader)

    async def close(self) -> None:
        """Writes what is queued, then closes."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._reads.shutdown()
        self._reader.close()
        self._writer.close()
        os.close(self._lock)

    def _write_all(self) -> None:
        while (batch := self._next_batch()) is not None:
            began = time.perf_counter()
            results = self._commit(batch)
            telemetry.record("heliograph.commit.duration", time.perf_counter() - began)
            self._loop.call_soon_threadsafe(_resolve, results)

    def _next_batch(self) -> list[_Job] | None:
        first = self._jobs.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < _BATCH:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the end comes after this batch
                break
            batch.append(job)
        return batch

    def _commit(self, batch: list[_Job]) -> list[tuple[asyncio.Future[Any], Any]]:
        """Runs a batch as one transaction; if that fails, each operation in its own so that only the guilty fail."""
        try:
            values = self._transact([operation for operation, _ in batch])
            return [(future, value) for (_, future), value in zip(batch, values, strict=True)]
        except Exception as error:  # noqa: BLE001  # boundary: each caller is told by its future
            if len(batch) == 1:
                return [(batch[0][1], _typed(error))]
        return [pair for job in batch for pair in self._commit([job])]

    def _transact(self, operations: list[Operation[Any]]) -> list[Any]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            values = [operation(self._writer) for operation in operations]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return values


def _resolve(results: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, value in results:
        if future.done():  # its caller went away; the write stands
            continue
        if isinstance(value, Exception):
            future.set_exception(value)
        else:
            future.set_result(value)


def _typed(error: Exception) -> Exception:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            return Busy("the run store cannot be written", reason="DISK_FULL", cause=error)
        return Internal("the run store failed", cause=error, sqlite=code)
    return error


def _lock(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        os.close(handle)
        raise Conflict("another front uses this data folder", reason="STORE_TAKEN", path=path) from problem
    return handle


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10, cached_statements=64)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA journal_size_limit=67108864")
    if read_only:
        connection.execute("PRAGMA query_only=ON")
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > _VERSION:
        raise Unsupported(
            "the run store was written by a newer release; start that one or name another data folder",
            reason="STORE_VERSION",
            path=path,
            version=version,
        )
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
    connection.execute(_ADDED)
