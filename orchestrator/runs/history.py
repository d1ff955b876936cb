"""Finished runs: an index of all in memory (ids, receipts), their contents in the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from kit.errors import InvalidRequest
from orchestrator.runs import store
from orchestrator.runs.journal import Journal
from orchestrator.runs.records import Receipt, RunRecord, Selection

_RECENT, _RECENT_BYTES = 256, 64 * 1024
_PAGE_BYTES = 48 * 1024 * 1024  # with room for the rest of a 64 MiB message


@dataclass(frozen=True)
class Finished:
    """What is known of a finished run without reading it; `place` grows with every run that ends."""

    receipt: Receipt
    body_hash: bytes
    place: int


class History:
    """At most `limit` entries, oldest first."""

    def __init__(self, journal: Journal, limit: int) -> None:
        self._journal = journal
        self._limit = limit
        self._entries: dict[str, Finished] = {}
        self._next_place = 1
        self._recent: dict[str, RunRecord] = {}  # who waits for a run asks for it just after its end
        self._places: dict[str, int] = {}  # of runs that are stored or being stored and not shown yet

    def load(self, connection: sqlite3.Connection) -> None:
        """Reads the index at start."""
        for run_id, body_hash, number, number_given, node_errors, place in store.finished_receipts(connection):
            receipt = Receipt(run_id, number, bool(number_given), node_errors)
            self._entries[run_id] = Finished(receipt, body_hash, place)
            self._next_place = place + 1

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._entries

    def find(self, run_id: str) -> Finished | None:
        """The index entry."""
        return self._entries.get(run_id)

    async def add(self, run: RunRecord) -> None:
        """Stores an ended run; it is durable when this returns, and listed after `show`."""
        if run.run_id not in self._places:
            self._places[run.run_id], self._next_place = self._next_place, self._next_place + 1
        surplus = max(0, len(self._entries) + len(self._places) - self._limit)
        forget = list(islice(self._entries, surplus))
        await self._journal.post(store.finish(run, self._places[run.run_id], forget))
        for run_id in forget:
            self._entries.pop(run_id, None)
            self._recent.pop(run_id, None)

    def show(self, run: RunRecord) -> None:
        """Lists a run that was added."""
        place = self._places.pop(run.run_id)
        self._entries[run.run_id] = Finished(run.receipt, run.body_hash, place)
        if _size(run) <= _RECENT_BYTES:
            self._recent[run.run_id] = run
            if len(self._recent) > _RECENT:
                del self._recent[next(iter(self._recent))]

    async def get(self, run_id: str) -> RunRecord | None:
        """One run with its outcome."""
        if run_id not in self._entries:
            return None
        return self._recent.get(run_id) or await self._journal.read(store.one(run_id))

    async def page(self, max_items: int | None, offset: int | None) -> list[RunRecord]:
        """ComfyUI's rule: `max_items` alone gives the last ones, `offset` counts from the oldest; oldest first.

        Raises InvalidRequest (ANSWER_TOO_LARGE) beyond 48 MiB.
        """
        places = [entry.place for entry in self._entries.values()]
        start = offset if offset is not None and offset >= 0 else None
        if start is None:
            start = max(0, len(places) - max_items) if max_items is not None else 0
        chosen = places[start:] if max_items is None else places[start : start + max(0, max_items)]
        if not chosen:
            return []
        runs, cut = await self._journal.read(store.history(chosen[0], chosen[-1], _PAGE_BYTES))
        if cut:
            raise _too_large(len(runs))
        return runs

    async def select(
        self, selection: Selection, max_items: int | None, offset: int | None
    ) -> tuple[list[RunRecord], int]:
        """Runs without what was submitted, and how many the selection has. Raises InvalidRequest (ANSWER_TOO_LARGE)."""
        query = store.selected(selection, max(0, offset or 0), max_items, _PAGE_BYTES)
        runs, total, cut = await self._journal.read(query)
        if cut:
            raise _too_large(len(runs))
        return runs, total

    async def delete(self, run_ids: Iterable[str]) -> int:
        """Removes entries; unknown ids are ignored."""
        known = [run_id for run_id in dict.fromkeys(run_ids) if run_id in self._entries]
        await self._journal.post(store.delete(known))
        for run_id in known:
            self._recent.pop(run_id, None)
        return sum(self._entries.pop(run_id, None) is not None for run_id in known)

    async def clear(self) -> int:
        """Removes everything that is finished now."""
        return await self.delete(tuple(self._entries))


def _size(run: RunRecord) -> int:
    return run.bytes + len(run.outputs_json) + len(run.messages_json) + len(run.meta_json)


def _too_large(fits: int) -> InvalidRequest:
    return InvalidRequest(
        "the history is too large for one answer; ask for parts with max_items and offset",
        reason="ANSWER_TOO_LARGE",
        limit_bytes=_PAGE_BYTES,
        fits=fits,
    )
