"""`/object_info` of all classes as the front last gave it, kept so that an unchanged one costs a question only."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass

from rest_bridge.clients import Runs


@dataclass(frozen=True)
class Shown:
    """The whole catalogue: the text and its gzipped form."""

    version: str
    text: bytes
    gzipped: bytes


class NodeCatalogue:
    """One per bridge."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._shown = Shown("", b"", b"")

    async def current(self) -> Shown:
        """As of now. Raises Unready."""
        answer = await self._runs.object_info_all(self._shown.version)
        if answer.version and answer.version == self._shown.version:
            return self._shown
        text, gzipped = answer.object_info_json, answer.object_info_gzip
        if gzipped:
            text = await asyncio.to_thread(gzip.decompress, gzipped)
        self._shown = shown = Shown(answer.version, text, gzipped)
        return shown
