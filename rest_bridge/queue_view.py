"""The queue as the front last listed it, kept so that an unchanged one costs a question only."""

from __future__ import annotations

import asyncio

from heliograph.graph.v1 import run_service_pb2 as graph

from rest_bridge import jobs, translate
from rest_bridge.clients import Runs

_KEPT_BYTES = 64 * 1024


class QueueView:
    """`/queue` as text, and its runs as jobs; one per bridge."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._text = "", b""
        self._items: dict[tuple[str, float, int], bytes] = {}  # of the last listing
        self._jobs: tuple[str, list[jobs.Job]] = "", []

    async def text(self) -> bytes:
        """Answer of GET /queue."""
        version, text = self._text
        answer = await self._runs.queue(known_version=version)
        if not version or answer.version != version:
            text = self._anew(answer)
            self._text = answer.version, text
        return text

    async def jobs(self) -> list[jobs.Job]:
        """Its runs as jobs, in no order."""
        version, found = self._jobs
        answer = await self._runs.queue(without_prompts=True, known_version=version)
        if not version or answer.version != version:
            found = await asyncio.to_thread(lambda: list(map(jobs.summary, (*answer.running, *answer.pending))))
            self._jobs = answer.version, found
        return found

    def _anew(self, answer: graph.ListQueueResponse) -> bytes:
        before, self._items = self._items, {}
        kept = self._items

        def item(run: graph.Run) -> bytes:
            key = run.run_id, run.number, run.created_ms  # an id may come again with another prompt
            made = before.get(key) or translate.queue_item(run)
            if len(made) <= _KEPT_BYTES:
                kept[key] = made
            return made

        return translate.queue([item(run) for run in answer.running], [item(run) for run in answer.pending])
