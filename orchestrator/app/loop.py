"""The worker's life: lease, execute, report; again. What executes is given, so that this runs without nodes too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from kit import telemetry
from kit.errors import HeliographError, Stopped
from orchestrator.clients.front import FrontLink, RunReport
from orchestrator.engine.events import Failed, Interrupted
from orchestrator.runs.events import Body
from orchestrator.runs.records import FreeRequest, Outcome, RunRecord, RunState

T = TypeVar("T")

_LOG = logging.getLogger("heliograph.worker")
_WAIT_S = 30.0
_PAUSE_S = (0.05, 0.1, 0.2, 0.5, 1.0)


class Executor(Protocol):
    """Executes runs, one at a time."""

    async def execute(self, run: RunRecord, tell: Callable[[Body], None], stop: asyncio.Event) -> Outcome:
        """Tells events in ComfyUI's order up to the last word; ends soon after `stop` is set. Raises nothing for a
        node's failure, which is an outcome.
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

    async def work(self, stop: asyncio.Event) -> None:
        """Leases and executes; after `stop` a run has `drain_s` to end, then it is given back."""
        failures = 0
        while not stop.is_set():
            began = time.monotonic()
            try:
                offer = await _unless(stop, self._link.lease(_WAIT_S))
            except HeliographError as problem:
                pause = _PAUSE_S[min(failures, len(_PAUSE_S) - 1)]
                (_LOG.debug if failures else _LOG.info)("the front is away, asking again: %s", problem)
                failures += 1
                await _unless(stop, asyncio.sleep(pause))
                continue
            failures = 0
            if offer is None:
                return
            if offer.free:
                await self._executor.free(offer.free)
            if offer.run is not None:
                await self._execute(offer.run, stop)
            elif not offer.free and time.monotonic() - began < _WAIT_S / 2:
                await _unless(stop, asyncio.sleep(_PAUSE_S[0]))  # a front that stops answers at once

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
            task = asyncio.create_task(self._outcome(run, report, halt))
            outcome = await self._drained(task, report, stop, halt)
        if lost.is_set():
            await report.drop()
            return
        ending = asyncio.create_task(report.end(outcome, self._patience_s))
        await _unless(stop, asyncio.wait({ending}))
        await asyncio.wait({ending}, timeout=self._drain_s)  # the front has its chance even when we must go
        if not ending.done():
            await report.drop()
            await ending

    async def _outcome(self, run: RunRecord, report: RunReport, halt: asyncio.Event) -> Outcome:
        try:
            return await self._executor.execute(run, report.tell, halt)
        except Stopped:
            report.tell(Interrupted("", "", ()))
            return Outcome(RunState.INTERRUPTED)
        except Exception as problem:  # noqa: BLE001  # boundary: told to the submitter and the log
            _LOG.exception("run %s failed outside its nodes", run.run_id)
            report.tell(_failure(problem))
            return Outcome(RunState.FAILED)

    async def _drained(
        self, task: asyncio.Task[Outcome], report: RunReport, stop: asyncio.Event, halt: asyncio.Event
    ) -> Outcome:
        """The run's outcome, or the words that give it back because the process must end."""
        await _unless(stop, asyncio.wait({task}))
        if task.done():
            return task.result()
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
