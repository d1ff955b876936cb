"""Follows the front's events over one stream that is opened again whenever it breaks: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

from heliograph.graph.v1 import event_pb2 as events

from kit.errors import HeliographError, NotFound
from rest_bridge import translate
from rest_bridge.clients import Runs
from rest_bridge.delivery import Delivery

_log = logging.getLogger("heliograph.rest_bridge.feed")
# Runs ended by `reconcile` whose own events may still arrive.
_MAX_CONCLUDED = 1024


@dataclass(frozen=True)
class Pace:
    """Waits in seconds: before the first and at most before a further attempt, and before a new stream is checked."""

    first_retry_s: float = 0.05
    longest_retry_s: float = 1.0
    settle_s: float = 1.0


class Feed:
    """Task that keeps the stream; give it to the event loop with `start`, end it with `stop`."""

    def __init__(self, runs: Runs, delivery: Delivery, pace: Pace = Pace()) -> None:
        self._runs = runs
        self._delivery = delivery
        self._pace = pace
        self._sequence = 0
        self._epoch = ""
        self._concluded: OrderedDict[str, None] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to follow; does not wait for the front."""
        self._task = asyncio.create_task(self._follow(), name="feed")

    async def stop(self) -> None:
        """Ends the stream."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _follow(self) -> None:
        wait_s, broken = self._pace.first_retry_s, False
        while True:
            settle = asyncio.create_task(self._settle()) if broken else None
            try:
                async for event in self._runs.watch(self._sequence, self._epoch):
                    wait_s = self._pace.first_retry_s
                    self._take(event)
            except HeliographError as error:
                _log.warning("event stream broke: %s", error)
                if isinstance(error, NotFound):  # this epoch is not known any more: start from now
                    self._sequence, self._epoch = 0, ""
            finally:
                if settle is not None:
                    settle.cancel()
            broken = True
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, self._pace.longest_retry_s)

    def _take(self, event: events.RunEvent) -> None:
        if event.epoch == self._epoch and event.sequence <= self._sequence:
            return  # delivered before the stream broke
        self._epoch, self._sequence = event.epoch, event.sequence
        if event.run_id in self._concluded:
            if not event.HasField("started"):
                return
            del self._concluded[event.run_id]  # the id was used again
        try:
            self._delivery.handle(event)
        except (ValueError, KeyError, TypeError) as problem:
            # boundary: one unreadable event must not end the stream; its run still gets its end mark
            _log.error("event dropped: run=%s sequence=%s", event.run_id, event.sequence, exc_info=problem)

    async def _settle(self) -> None:
        """Some time after the stream is back, ends what ended unseen: in a restart or beyond what the front keeps."""
        await asyncio.sleep(self._pace.settle_s)
        while True:
            try:
                await self.reconcile()
            except HeliographError as error:
                _log.warning("state after a broken stream is not known yet: %s", error)
                await asyncio.sleep(self._pace.longest_retry_s)
            else:
                return

    async def reconcile(self) -> None:
        """Compares what we believe with what the front stores. Raises HeliographError when it cannot be asked."""
        changes = self._delivery.changes
        queue = await self._runs.queue(without_prompts=True)
        if self._delivery.changes == changes and self._delivery.remaining != translate.remaining(queue):
            self._delivery.queue_changed(translate.remaining(queue))
        unfinished = {run.run_id for run in (*queue.running, *queue.pending)}
        for run_id in self._delivery.active_runs():
            if run_id in unfinished:
                continue
            run = await self._runs.get(run_id)
            if run is not None and not translate.ended(run):
                continue
            if run_id in self._delivery.active_runs():  # its own end may have come while we asked
                self._conclude(run_id, None if run is None else translate.last_message(run))

    def _conclude(self, run_id: str, last_message: str | None) -> None:
        self._delivery.conclude(run_id, last_message)
        self._concluded[run_id] = None
        while len(self._concluded) > _MAX_CONCLUDED:
            self._concluded.popitem(last=False)
