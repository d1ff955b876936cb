"""Where packs' code runs: plain functions one after the other in a thread, as in ComfyUI; coroutines on a loop."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from node_host.nodes import Cancelled
from node_host.surface.running import InterruptProcessingException

_LOG = logging.getLogger("heliograph.packs")
T = TypeVar("T")
_END_S = 2.0


class Turns:
    """Make it inside the event loop that serves. `grace_s`: how long a cancelled function may go on before its
    thread is left to itself and the next function gets another."""

    def __init__(self, grace_s: float = 5.0) -> None:
        self._grace_s = grace_s
        self._turn = asyncio.Lock()
        self._threads = ThreadPoolExecutor(1, "pack")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="pack-loop", daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where packs' coroutines run."""
        return self._loop

    async def plain(self, function: Callable[[], T]) -> T:
        """In its turn. Raises Cancelled if the function gave up because it was cancelled."""
        async with self._turn:
            place = _Place()
            work = partial(contextvars.copy_context().run, place.run, function)
            future = asyncio.get_running_loop().run_in_executor(self._threads, work)
            try:
                return await asyncio.shield(future)
            except InterruptProcessingException:
                raise Cancelled from None
            except asyncio.CancelledError:
                place.interrupt()
                done, _ = await asyncio.wait({future}, timeout=self._grace_s)
                if not done:
                    _LOG.warning("a cancelled node goes on; its thread is left to it")
                    self._threads.shutdown(wait=False)
                    self._threads = ThreadPoolExecutor(1, "pack")
                    future.add_done_callback(_read)
                else:
                    _read(future)
                raise

    async def coroutine(self, function: Callable[[], Awaitable[T]]) -> T:
        """Beside others, on the packs' own loop: what blocks it does not block the service."""

        async def call() -> T:
            return await function()

        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call(), self._loop))
        except InterruptProcessingException:
            raise Cancelled from None

    def close(self) -> None:
        """Coroutines are cancelled; code that does not come back is not waited for long."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.create_task, _end(self._loop))
        self._thread.join(_END_S)
        if not self._thread.is_alive():
            self._loop.close()


class _Place:
    """The thread that one function runs in."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._thread = 0

    def run(self, function: Callable[[], T]) -> T:
        with self._guard:
            self._thread = threading.get_ident()
        try:
            return function()
        finally:
            with self._guard:
                self._thread = 0

    def interrupt(self) -> None:
        """Raises InterruptProcessingException in the function at its next step in Python."""
        with self._guard:
            if self._thread:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(self._thread), ctypes.py_object(InterruptProcessingException)
                )


async def _end(loop: asyncio.AbstractEventLoop) -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    loop.stop()


def _read(future: asyncio.Future[Any]) -> None:
    """So that nobody complains of an exception that was never looked at."""
    with suppress(BaseException):
        future.exception()
