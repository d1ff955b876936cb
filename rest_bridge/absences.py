"""Clients that left a short while ago: what their runs said meanwhile waits for them, within bounds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rest_bridge.frames import Frame

_MAX_CLIENTS = 512
_MAX_MESSAGES = 1024
_MAX_BYTES = 4 * 1024 * 1024
_MAX_BYTES_OF_ALL = 64 * 1024 * 1024


@dataclass(eq=False)
class Absence:
    """One client's messages since it left; what would be old news by then is not kept."""

    client_id: str
    preview_metadata: bool
    until: float
    frames: list[Frame]
    size: int
    owner: Absences

    def put(self, frame: Frame) -> None:
        """Keeps a frame. Beyond the bounds nothing is kept: a part would mislead, and the history tells all."""
        if not frame.lasting:
            return
        self.frames.append(frame)
        self.size += frame.size
        self.owner.grown(self, frame.size)


class Absences:
    """By client id, longest gone first; `seconds` 0 keeps nothing."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._gone: OrderedDict[str, Absence] = OrderedDict()
        self._size = 0

    def begin(self, client_id: str, preview_metadata: bool, unsent: Iterable[Frame]) -> None:
        """A client left; `unsent` is what it had not received yet."""
        self.end(client_id)
        if self._seconds <= 0:
            return
        absence = Absence(client_id, preview_metadata, self._clock() + self._seconds, [], 0, self)
        self._gone[client_id] = absence
        while len(self._gone) > _MAX_CLIENTS:
            self._forget(next(iter(self._gone)))
        for frame in unsent:
            absence.put(frame)

    def of_client(self, client_id: str) -> Absence | None:
        """Who is expected back; None: nobody."""
        absence = self._gone.get(client_id)
        if absence is not None and absence.until < self._clock():
            self._forget(client_id)
            return None
        return absence

    def end(self, client_id: str) -> list[Frame]:
        """The client is back: what it missed, oldest first."""
        absence = self.of_client(client_id)
        if absence is None:
            return []
        self._forget(client_id)
        return absence.frames

    def grown(self, absence: Absence, size: int) -> None:
        """An absence has taken one more frame; keeps all of them within their bounds."""
        if self._gone.get(absence.client_id) is not absence:
            return
        self._size += size
        if len(absence.frames) > _MAX_MESSAGES or absence.size > _MAX_BYTES:
            self._forget(absence.client_id)
        while self._size > _MAX_BYTES_OF_ALL:
            self._forget(next(iter(self._gone)))

    def _forget(self, client_id: str) -> None:
        self._size -= self._gone.pop(client_id).size
