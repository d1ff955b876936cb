"""One worker's stream as the front sees it: what it holds, what it is to be told, what it says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from orchestrator.runs.lease import Lease
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord
from orchestrator.runs.reports import Attach, Happened
from orchestrator.runs.voice import Voice

MAX_AHEAD = 16
MAX_ENDING = 16
"""Ended runs of one worker that are not stored yet; with more, it gets no further ones."""
_LEASES_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Hello:
    """A worker's first words: who it is, how many leases it takes ahead, what it began earlier."""

    worker_id: str
    ahead: int
    held: tuple[Attach, ...] = ()


@dataclass(frozen=True)
class LeaseReport:
    """News of one lease, in order: begun (implied by the rest), events, outcome."""

    lease_id: str
    begun: bool
    happened: tuple[Happened, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Said:
    """One message of a worker."""

    hello: Hello | None = None
    reports: tuple[LeaseReport, ...] = ()
    returned: tuple[str, ...] = ()
    leaving: bool = False


@dataclass
class Orders:
    """One message to a worker; see WorkResponse."""

    leases: list[RunRecord] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    free: FreeRequest = field(default_factory=FreeRequest)

    def __bool__(self) -> bool:
        return bool(self.leases or self.cancelled or self.recalled or self.stored or self.lost or self.free)


@dataclass(eq=False)
class Line:
    """`leases` are in the order in which the worker takes them; the first is the one that it works on."""

    ahead: int
    deadline: float
    leases: dict[str, Lease] = field(default_factory=dict)
    ending: int = 0
    closed: bool = False
    leaving: bool = False
    orders: Orders = field(default_factory=Orders)
    voice: Voice = field(default_factory=Voice)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """All that it ended is stored, or the stream is closed."""

    @property
    def has_room(self) -> bool:
        """Whether it takes another lease. Not while one is called back: they would come out of order."""
        return (
            not self.leaving
            and len(self.leases) <= self.ahead
            and self.ending < MAX_ENDING
            and not any(lease.recalled for lease in self.leases.values())
        )

    @property
    def lent(self) -> list[Lease]:
        """What it has not begun, as far as known."""
        return [lease for index, lease in enumerate(self.leases.values()) if index and not lease.began]

    def recall(self, lease: Lease) -> None:
        """Asks for a lease back; the answer is a return, or that the run has begun."""
        if not lease.recalled:
            lease.recalled = True
            if lease.delivered:
                self.tell(recalled=lease.lease_id)

    def tell(self, *, cancelled: str = "", recalled: str = "", stored: str = "", lost: str = "") -> None:
        """Adds to the next message."""
        for names, name in (
            (self.orders.cancelled, cancelled), (self.orders.recalled, recalled),
            (self.orders.stored, stored), (self.orders.lost, lost),
        ):  # fmt: skip
            if name:
                names.append(name)
        self.changed.set()

    def next_orders(self) -> Orders:
        """What is to be told now, in a message of bounded size; the rest comes next."""
        orders, self.orders = self.orders, Orders()
        size = 0
        for index, run in enumerate(orders.leases):
            size += run.bytes
            if index and size > _LEASES_BYTES:
                self.orders.leases = orders.leases[index:]
                del orders.leases[index:]
                break
        if not self.orders:
            self.changed.clear()
        return orders
