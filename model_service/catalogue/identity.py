"""Who a file is: the BLAKE3 digest of its content, computed once per inode, size and time of change.

The digests are kept in an SQLite file, shared by all processes of a machine. A digest that is being computed is waited
for and not computed again: within a process by a future, between processes by a byte-range lock on a file beside.
"""

from __future__ import annotations

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from kit.errors import NotFound, Unready
from model_service.catalogue.hashing import content_digest

BUSY_TIMEOUT_S = 30.0
# A file written this short ago may change once more without its time moving on: its digest is not kept.
SETTLED_NS = 50_000_000

_log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS digest (
    device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    blake3 TEXT NOT NULL, PRIMARY KEY (device, inode)
) WITHOUT ROWID
"""


@dataclass(frozen=True)
class FileStamp:
    """What tells a file's state without reading it; sizes in bytes, time in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int


def stamp_of(path: Path) -> FileStamp:
    """The stamp of a file (symlinks followed); `NotFound` (WEIGHTS_NOT_FOUND)."""
    try:
        status = path.stat()
    except OSError:
        raise NotFound("there is no such model file", reason="WEIGHTS_NOT_FOUND", file=path.name) from None
    # SQLite's integers are signed: inodes of some file systems use all 64 bits.
    inode = status.st_ino - (1 << 64) if status.st_ino >= 1 << 63 else status.st_ino
    return FileStamp(status.st_dev, inode, status.st_size, status.st_mtime_ns)


class Identities:
    """Digests of files, kept in `cache_folder`; safe for threads and for several processes."""

    def __init__(self, cache_folder: Path) -> None:
        cache_folder.mkdir(parents=True, exist_ok=True)
        self._database = cache_folder / "identities.db"
        self._locks = (cache_folder / "identities.lock").open("a+b")
        self._guard = threading.Lock()
        self._known: dict[FileStamp, str] = {}
        self._running: dict[FileStamp, Future[str]] = {}
        self._open_database()

    def close(self) -> None:
        """Let go of the lock file."""
        self._locks.close()

    def digest(self, path: Path) -> str:
        """BLAKE3 of the file's content, 64 hexadecimal digits.

        Blocks while the content is read (well under a second per GB in the page cache). Raises `NotFound`,
        `InvalidModel` (WEIGHTS_UNREADABLE) and `Unready` (WEIGHTS_CHANGING) for a file that is being written.
        """
        stamp = stamp_of(path)
        with self._guard:
            known = self._known.get(stamp)
            if known is not None:
                return known
            running = self._running.get(stamp)
            mine = running is None
            if running is None:
                running = self._running[stamp] = Future()
        if not mine:
            return running.result()
        try:
            running.set_result(self._compute(path, stamp))
        except BaseException as error:
            running.set_exception(error)
            raise
        finally:
            with self._guard:
                del self._running[stamp]
        return running.result()

    def _compute(self, path: Path, stamp: FileStamp) -> str:
        value = self._recall(stamp)
        if value is None:
            with self._alone(stamp):
                value = self._recall(stamp)
                if value is None:
                    value = content_digest(path)
                    if stamp_of(path) != stamp:
                        raise Unready(
                            "the model file is being written",
                            reason="WEIGHTS_CHANGING",
                            file=path.name,
                            size=stamp.size,
                        )
                    if abs(time.time_ns() - stamp.mtime_ns) < SETTLED_NS:
                        return value
                    self._remember(stamp, value)
        with self._guard:
            self._known[stamp] = value
        return value

    @contextmanager
    def _alone(self, stamp: FileStamp) -> Iterator[None]:
        """Hold this file's lock against other processes; byte ranges belong to a process, so one handle serves."""
        slot = (stamp.device * 1_000_003 ^ stamp.inode) & 0x3FFFFFFF
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, slot)
        try:
            yield
        finally:
            fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, slot)

    def _open_database(self) -> None:
        """Create the table; a damaged file is only a cache and is made anew."""
        try:
            self._create()
        except sqlite3.OperationalError:
            raise  # locked or unwritable, which says nothing about its content
        except sqlite3.DatabaseError as error:
            _log.warning("the digest cache %s is damaged (%s) and is made anew", self._database, error)
            for ending in ("", "-journal"):
                self._database.with_name(self._database.name + ending).unlink(missing_ok=True)
            self._create()

    def _create(self) -> None:
        with closing(self._connect()) as database:
            database.execute(_SCHEMA)
            database.execute("SELECT count(*) FROM digest").fetchone()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=BUSY_TIMEOUT_S, isolation_level=None)

    def _recall(self, stamp: FileStamp) -> str | None:
        with closing(self._connect()) as database:
            row = database.execute(
                "SELECT blake3 FROM digest WHERE device = ? AND inode = ? AND size = ? AND mtime_ns = ?",
                (stamp.device, stamp.inode, stamp.size, stamp.mtime_ns),
            ).fetchone()
        return None if row is None else str(row[0])

    def _remember(self, stamp: FileStamp, value: str) -> None:
        row = (stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, value)
        try:
            with closing(self._connect()) as database:
                database.execute("INSERT OR REPLACE INTO digest VALUES (?, ?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            # The digest is right all the same; a full disk costs only the next process another reading.
            _log.warning("a digest could not be kept in %s: %s", self._database, error)
