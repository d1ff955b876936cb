"""What waits for clients that left, and what does not."""

from __future__ import annotations

import pytest

from rest_bridge import absences
from rest_bridge.frames import Frame
from rest_bridge.sockets import OutboxLimits, Sockets

LIMITS = OutboxLimits(messages=10, bytes=1000)


class Clock:
    """Time that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def tell(sockets: Sockets, client_id: str, *payloads: str) -> int:
    """Sends messages of a run; returns how many recipients took them."""
    recipients = list(sockets.of_client(client_id))
    for recipient in recipients:
        for payload in payloads:
            recipient.put(Frame(payload))
    return len(recipients)


def missed(sockets: Sockets, client_id: str) -> list[str | bytes]:
    """What a client gets that comes back now."""
    return [frame.payload for frame in sockets.open(client_id).missed]


def test_who_comes_back_in_time_gets_what_it_missed_once() -> None:
    clock = Clock()
    sockets = Sockets(10, LIMITS, 60.0, clock)
    box = sockets.open("a")
    box.put(Frame("sent too late"))
    box.put(Frame("a counter", passing=True))
    box.put(Frame(b"a preview", droppable=True))
    sockets.close(box)
    assert tell(sockets, "a", "one", "two") == 1 and list(sockets.everybody()) == []
    clock.now += 59
    assert missed(sockets, "a") == ["sent too late", "one", "two"]
    assert missed(sockets, "a") == []


def test_who_comes_too_late_or_never_was_here_gets_nothing() -> None:
    clock = Clock()
    sockets = Sockets(10, LIMITS, 60.0, clock)
    sockets.close(sockets.open("a"))
    tell(sockets, "a", "one")
    clock.now += 61
    assert tell(sockets, "a", "two") == 0 and tell(sockets, "b", "x") == 0
    assert missed(sockets, "a") == [] == missed(sockets, "b")
    never = Sockets(10, LIMITS, 0.0, clock)
    never.close(never.open("a"))
    assert tell(never, "a", "one") == 0


def test_a_socket_that_takes_over_gets_what_the_other_had_not_sent() -> None:
    sockets = Sockets(10, LIMITS, 60.0)
    old = sockets.open("a")
    tell(sockets, "a", "one")
    new = sockets.open("a")
    assert [frame.payload for frame in new.missed] == ["one"]
    sockets.close(old)
    assert list(sockets.of_client("a")) == [new]


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absences, "_MAX_CLIENTS", 3)
    monkeypatch.setattr(absences, "_MAX_MESSAGES", 5)
    monkeypatch.setattr(absences, "_MAX_BYTES", 100)
    monkeypatch.setattr(absences, "_MAX_BYTES_OF_ALL", 150)
    sockets = Sockets(10, LIMITS, 60.0)
    for name in "abcd":
        sockets.close(sockets.open(name))
    assert tell(sockets, "a", "x") == 0  # longest gone
    tell(sockets, "b", *"123456")
    assert missed(sockets, "b") == []  # too many: none rather than a part
    tell(sockets, "c", "x" * 90)
    tell(sockets, "d", "y" * 90)
    assert missed(sockets, "c") == [] and missed(sockets, "d") == ["y" * 90]
