"""What the front knows of its unfinished runs, and how a run changes durably: where it stands, how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace

from kit import telemetry
from kit.errors import Busy
from orchestrator.graph.prompt import parse
from orchestrator.runs import messages, store
from orchestrator.runs.events import Body, Ended
from orchestrator.runs.explain import likenesses
from orchestrator.runs.feed import Feed
from orchestrator.runs.history import History
from orchestrator.runs.hub import Hub
from orchestrator.runs.journal import Journal
from orchestrator.runs.lease import Lease
from orchestrator.runs.measured import Measured, Pace, Timing
from orchestrator.runs.records import Outcome, RunRecord, RunState
from orchestrator.runs.run_log import RunLog
from orchestrator.runs.voice import Voice
from orchestrator.runs.waiting import Waiting

_LEARN_BYTES = 64 * 1024
_KEEP_PACES_S = 1.0
_LOG = logging.getLogger("heliograph.runs")


@dataclass(frozen=True)
class Limits:
    """Bounds and times of the queue; `_s` seconds."""

    queue: int = 10_000
    queue_bytes: int = 32 * 1024 * 1024
    history: int = 10_000
    ring_events: int = 50_000
    ring_bytes: int = 64 * 1024 * 1024
    ring_preview_bytes: int = 16 * 1024 * 1024
    log_events: int = 5_000
    log_bytes: int = 4 * 1024 * 1024
    heartbeat_s: float = 30.0
    recall_s: float = 5.0
    reattach_s: float = 10.0


@dataclass(eq=False)
class Active:
    """An unfinished run and what belongs to it only while it is unfinished."""

    run: RunRecord
    log: RunLog
    durable: asyncio.Future[None]
    history: messages.Collected = field(default_factory=messages.Collected)
    timing: Timing = field(default_factory=Timing)
    lease: Lease | None = None
    ending: bool = False

    def clear(self) -> None:
        """The run begins anew."""
        self.history.clear()
        self.timing.clear()


class Board:
    """Shared state of `Runs` and `Leasing`; all calls on the front's event loop."""

    def __init__(self, journal: Journal, epoch: str, limits: Limits, now_ms: Callable[[], int]) -> None:
        self.journal = journal
        self.limits = limits
        self.now_ms = now_ms
        self.feed = Feed(
            Hub(
                epoch, max_events=limits.ring_events, max_bytes=limits.ring_bytes,
                max_preview_bytes=limits.ring_preview_bytes,
            ),
            now_ms,
        )  # fmt: skip
        self.waiting = Waiting(limits.queue, limits.queue_bytes)
        self.history = History(journal, limits.history)
        self.measured = Measured()
        self.active: dict[str, Active] = {}
        self.changes = 0  # of what is listed in the queue
        self._paces: dict[str, Pace] = {}  # not stored yet
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, run: RunRecord, durable: asyncio.Future[None]) -> Active:
        """Takes an unfinished run in; pending ones wait."""
        active = Active(run, RunLog(self.limits.log_events, self.limits.log_bytes), durable)
        self.active[run.run_id] = active
        self.changes += 1
        return active

    def forget(self, active: Active) -> None:
        """Drops a run that could not be stored."""
        self.waiting.remove(active.run.run_id)
        self.active.pop(active.run.run_id, None)
        self.changes += 1
        if active.lease is not None:
            active.lease.void = True

    def queue_changed(self) -> None:
        """Tells everybody how many runs are unfinished."""
        self.changes += 1
        self.feed.queue_changed(len(self.active))

    def tell(self, active: Active, body: Body, timestamp_ms: int | None = None) -> None:
        """Tells everybody what happened to a run."""
        self.feed.tell(active.run, active.log, body, timestamp_ms)

    def stop_watching(self) -> None:
        """Ends every watch with Unready (STOPPING)."""
        self.feed.stop()
        for active in self.active.values():
            active.log.stop()

    async def settle(self, timeout_s: float) -> None:
        """Waits for endings that are being stored."""
        self._keep_paces()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
            await asyncio.sleep(0)  # what is told after them

    def store(self, active: Active) -> asyncio.Future[None]:
        """Writes where an unfinished run stands; if that fails, the next start finds an older state, not a lost run."""
        stored = self.journal.post(store.update_progress(active.run))
        stored.add_done_callback(_log_failure)
        return stored

    def end(
        self, active: Active, outcome: Outcome, last_word: Body | None = None, voice: Voice | None = None
    ) -> asyncio.Future[None]:
        """Begins to end a run, with an event before it if given; done when it is in history and everybody knows.

        `voice`: where its worker's other news are told, so that they keep their order.
        """
        active.ending = True  # from now on nobody else can end it, requeue it or stop it
        if last_word is not None:
            now = self.now_ms()
            active.history.add(active.run.run_id, last_word, now)
            self.tell(active, last_word, now)
        run = self._ended(active, outcome)
        if run.extra_data_json != active.run.extra_data_json:
            self.journal.post(store.replace_extra(run)).add_done_callback(_log_failure)
        self._learn(active, outcome)
        stored = self._start(self._insist(lambda: self.history.add(run)))
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def tell() -> None:
            if stored.cancelled():
                told.cancel()
                return
            self._leave(active, run)
            told.set_result(None)

        (voice or Voice()).say(tell, stored)
        return told

    def _ended(self, active: Active, outcome: Outcome) -> RunRecord:
        return replace(
            active.run, state=outcome.state, lease_id="", started_ms=active.run.started_ms or self.now_ms(),
            ended_ms=self.now_ms(), outputs_json=outcome.outputs_json, meta_json=outcome.meta_json,
            messages_json=active.history.to_json(outcome.state),
            extra_data_json=messages.without_credentials(active.run.extra_data_json),
        )  # fmt: skip

    def _leave(self, active: Active, run: RunRecord) -> None:
        """Out of the queue, in the same step as the entry in history."""
        self.history.show(run)
        del self.active[run.run_id]
        self.waiting.remove(run.run_id)
        if active.lease is not None:
            active.lease.void = True
        telemetry.record("heliograph.runs.ended", 1, state=run.state.name)
        telemetry.record("heliograph.run.duration", (run.ended_ms - run.started_ms) / 1000)
        self.queue_changed()
        self.feed.tell(run, active.log, Ended(run.state))

    def _learn(self, active: Active, outcome: Outcome) -> None:
        """What the run showed of its nodes' paces; stored with its end."""
        prompt_json = active.run.prompt_json
        if len(prompt_json) > _LEARN_BYTES:
            return  # reading it would hold everybody else up
        changed = self.measured.learn(active.timing, prompt_json)
        if changed and not self._paces:
            asyncio.get_running_loop().call_later(_KEEP_PACES_S, self._keep_paces)
        self._paces.update({pace.class_type: pace for pace in changed})
        if outcome.state is RunState.SUCCEEDED:
            self.measured.remember(likenesses(parse(prompt_json)).values())

    def _keep_paces(self) -> None:
        paces, self._paces = self._paces, {}
        if paces:
            self.journal.post(store.keep_paces(paces.values())).add_done_callback(_log_failure)

    async def _insist(self, write: Callable[[], Awaitable[object]]) -> None:
        """Repeats a write that must not get lost until the disk takes it."""
        while True:
            try:
                await write()
                return
            except Busy as problem:
                _LOG.error("the run store cannot be written, trying again: %s", problem)
                await asyncio.sleep(1)

    def _start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _log_failure(stored: asyncio.Future[None]) -> None:
    if not stored.cancelled() and (problem := stored.exception()) is not None:
        _LOG.error("the run store could not be written: %s", problem)
