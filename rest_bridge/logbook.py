"""The bridge's last log lines, for `/internal/logs` and for clients that want each new one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rest_bridge import messages
from rest_bridge.frames import Frame
from rest_bridge.sockets import Sockets

Line = dict[str, str]
_MAX_LINES = 300
_MAX_CHARS = 4096


class Logbook(logging.Handler):
    """Keeps lines from any thread; tells subscribers from the event loop. Tracebacks stay in the real log."""

    def __init__(self, sockets: Sockets) -> None:
        super().__init__()
        self._sockets = sockets
        self._lines: deque[Line] = deque(maxlen=_MAX_LINES)
        self._fresh: deque[Line] = deque(maxlen=_MAX_LINES)
        self._subscribers: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._told = False

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listens to all loggers of the process."""
        self._loop = asyncio.get_running_loop()
        logging.getLogger().addHandler(self)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self)

    def lines(self) -> list[Line]:
        """Oldest first: `t` local time, `m` text with its line end."""
        return list(self._lines)

    def subscribe(self, client_id: str, wanted: bool) -> None:
        """From now on this client is told of new lines, or not any more; one that is not connected is forgotten."""
        if wanted and self._sockets.connected(client_id) is not None:
            self._subscribers.add(client_id)
        elif not wanted:
            self._subscribers.discard(client_id)

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        try:
            text = f"{record.levelname} {record.name}: {record.getMessage()}"
        except (TypeError, ValueError):  # arguments that do not fit their format
            text = f"{record.levelname} {record.name}: {record.msg}"
        line = {"t": datetime.fromtimestamp(record.created).isoformat(), "m": text[:_MAX_CHARS] + "\n"}
        self._lines.append(line)
        if self._subscribers and self._loop is not None and not self._loop.is_closed():
            self._fresh.append(line)
            if not self._told:
                self._told = True
                self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        self._told = False
        fresh, self._fresh = list(self._fresh), deque(maxlen=_MAX_LINES)
        frame = Frame(messages.logs(fresh), droppable=True)
        for client_id in list(self._subscribers):
            outbox = self._sockets.connected(client_id)
            if outbox is None:
                self._subscribers.discard(client_id)
            else:
                outbox.put(frame)


def as_text(lines: Iterable[Line]) -> str:
    """All lines as one text."""
    return "".join(f"{line['t']} - {line['m']}" for line in lines)
