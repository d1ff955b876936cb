"""The worker's life: lease, execute, report; again. What executes is given, so that this runs without nodes too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from kit import telemetry
from kit.errors import HeliographError, Stopped
from orchestrator.clients.front import FrontLink
from orchestrator.clients.run_report import RunReport
from orchestrator.engine.events import Failed, Interrupted
from orchestrator.runs.events import Body
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState

T = TypeVar("T")

_LOG = logging.getLogger("heliograph.worker")
_GOODBYE_S = 1.0
_MAX_ENDING = 16
"""Runs that have computed and whose end the front has not stored; with more, the next one waits."""


class Executor(Protocol):
    """Executes runs, one at a time."""

    async def execute(
        self, run: RunRecord, tell: Callable[[Body], None], stop: asyncio.Event
    ) -> Outcome | Awaitable[Outcome]:
        """Tells events in ComfyUI's order up to the last word; ends soon after `stop` is set. Raises nothing for a
        node's failure, which is an outcome. An awaitable: the run has computed and the next one may begin, but its
        last word and its outcome follow once what it saved is on the disk.
        """

    async def free(self, request: FreeRequest) -> None:
        """Lets go of memory."""


class Worker:
    """One run at a time, until `stop`."""

    def __init__(self, link: FrontLink, executor: Executor, *, drain_s: float, patience_s: float) -> None:
        self._link = link
        self._executor = executor
        self._drain_s = drain_s
        self._patience_s = patience_s
        self._ending: set[asyncio.Task[None]] = set()

    async def work(self, stop: asyncio.Event) -> None:
        """Leases and executes; after `stop` a run has `drain_s` to end, then it is given back."""
        try:
            while not stop.is_set() and (offer := await _unless(stop, self._link.next())) is not None:
                if offer.free:
                    await self._executor.free(offer.free)
                if offer.run is not None:
                    await self._execute(offer.run, stop)
        finally:
            self._link.leave()
            if self._ending:  # the front has its chance even when we must go
                await asyncio.wait(self._ending, timeout=max(self._drain_s, _GOODBYE_S))
            for task in self._ending:
                task.cancel()
            await self._link.close(_GOODBYE_S)

    async def _execute(self, run: RunRecord, stop: asyncio.Event) -> None:
        halt = asyncio.Event()
        lost = asyncio.Event()

        def on_lost() -> None:
            lost.set()
            halt.set()

        report = self._link.report(run, halt.set, on_lost)
        with telemetry.span(
            telemetry.SPAN_RUN, telemetry.run_context(run.run_id), run_id=run.run_id, attempt=run.attempts
        ):
            task = asyncio.create_task(self._computed(run, report, halt))
            outcome = await self._drained(task, report, stop, halt)
        if lost.is_set():
            return
        ending = asyncio.create_task(self._end(run, report, outcome))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        if len(self._ending) > _MAX_ENDING:
            await _unless(stop, asyncio.wait(self._ending, return_when=asyncio.FIRST_COMPLETED))

    async def _end(self, run: RunRecord, report: RunReport, outcome: Outcome | Awaitable[Outcome]) -> None:
        """Until the front has stored the outcome; if it stays away, the result is dropped and the lease runs out."""
        report.end(await self._guarded(run, report, outcome))
        done, _ = await asyncio.wait({report.done}, timeout=self._patience_s)
        if not done:
            _LOG.error("the front did not come back for the outcome of run %s", run.run_id)
            self._link.drop(report)

    async def _computed(self, run: RunRecord, report: RunReport, halt: asyncio.Event) -> Outcome | Awaitable[Outcome]:
        try:
            return await self._executor.execute(run, report.tell, halt)
        except Exception as problem:  # noqa: BLE001  # boundary: told to the submitter and the log
            return self._failed(run, report, problem)

    async def _guarded(self, run: RunRecord, report: RunReport, outcome: Outcome | Awaitable[Outcome]) -> Outcome:
        if isinstance(outcome, Outcome):
            return outcome
        try:
            return await outcome
        except Exception as problem:  # noqa: BLE001  # boundary: told to the submitter and the log
            return self._failed(run, report, problem)

    def _failed(self, run: RunRecord, report: RunReport, problem: Exception) -> Outcome:
        if isinstance(problem, Stopped):
            report.tell(Interrupted("", "", ()))
            return Outcome(RunState.INTERRUPTED)
        _LOG.error("run %s failed outside its nodes", run.run_id, exc_info=problem)
        report.tell(_failure(problem))
        return Outcome(RunState.FAILED)

    async def _drained(
        self,
        task: asyncio.Task[Outcome | Awaitable[Outcome]],
        report: RunReport,
        stop: asyncio.Event,
        halt: asyncio.Event,
    ) -> Outcome | Awaitable[Outcome]:
        """What the run came to, or the words that give it back because the process must end."""
        await _unless(stop, asyncio.wait({task}))
        if task.done():
            return task.result()
        self._link.leave()
        await asyncio.wait({task}, timeout=self._drain_s)
        if task.done():
            return task.result()
        report.mute()  # what comes now is not how the run ends
        halt.set()
        _LOG.info("giving the run back: the worker was asked to end")
        await asyncio.wait({task}, timeout=1)
        task.cancel()
        return Outcome(RunState.PENDING)


def _failure(problem: Exception) -> Failed:
    typed = isinstance(problem, HeliographError)
    return Failed(
        node_id="",
        node_type="",
        executed=(),
        exception_message=str(problem) if typed else "internal error; the worker's log has the cause",
        exception_type=type(problem).__name__,
        reason=problem.reason if isinstance(problem, HeliographError) else "BUG",
        facts=problem.facts if isinstance(problem, HeliographError) else {},
    )


async def _unless(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """The result of `work`; None if `stop` came first, and then `work` is cancelled."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        stopped.cancel()
