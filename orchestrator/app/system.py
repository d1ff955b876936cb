"""The installation as RunService shows it: nodes, versions, memory."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.clients.model_lists import ModelLists, Snapshot
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import OneOf
from orchestrator.graph.object_info import all_object_info, object_info
from orchestrator.graph.spec import NodeSpec
from orchestrator.runs.leasing import Leasing
from orchestrator.runs.records import FreeRequest
from orchestrator.transport.system import ObjectInfo

_LISTS_AGE_S = 1.0
_GZIP_LEVEL = 6
_Seen = tuple[Catalogue, Mapping[str, tuple[str, ...]], list[str]]
_MEMINFO = Path("/proc/meminfo")


class Installation:
    """Implements `transport.system.System`."""

    def __init__(self, catalogue: Callable[[], Catalogue], lists: ModelLists, leasing: Leasing) -> None:
        self._catalogue = catalogue  # it may change
        self._lists = lists
        self._leasing = leasing
        self._rendering = asyncio.Lock()
        self._shown: tuple[_Seen, ObjectInfo] | None = None

    async def object_info(self) -> ObjectInfo:
        """Of all classes; made anew when a node class or a file that they list has come or gone. Raises Unready."""
        catalogue = self._catalogue()
        lists = await self._lists.snapshot(_folders(catalogue.values()), _LISTS_AGE_S)
        async with self._rendering:
            return await asyncio.to_thread(self._rendered, catalogue, lists)

    async def one_object_info(self, node_type: str) -> bytes:
        """Of one class, as JSON; unknown: {}. Raises Unready."""
        spec = self._catalogue().get(node_type)
        if spec is None:
            return b"{}"
        lists = await self._lists.snapshot(_folders([spec]), _LISTS_AGE_S)
        return await asyncio.to_thread(lambda: json.dumps({node_type: object_info(spec, lists)}).encode())

    def _rendered(self, catalogue: Catalogue, lists: Snapshot) -> ObjectInfo:
        seen = catalogue, lists.folders, sorted(lists.artifacts.list_names("input"))
        if self._shown is None or self._shown[0][0] is not catalogue or self._shown[0][1:] != seen[1:]:
            text = json.dumps(all_object_info(catalogue, lists)).encode()
            version = hashlib.blake2b(text, digest_size=16).hexdigest()
            self._shown = seen, ObjectInfo(version, text, gzip.compress(text, _GZIP_LEVEL, mtime=0))
        return self._shown[1]

    def facts_json(self) -> bytes:
        """ComfyUI's `system` names as far as they are ours to know; bytes for memory."""
        total, free = _memory_bytes()
        return json.dumps(
            {
                "os": os.name,
                "ram_total": total,
                "ram_free": free,
                "python_version": sys.version,
                "pytorch_version": _installed("torch"),
                "heliograph_version": _installed("heliograph"),
                "embedded_python": False,
            }
        ).encode()

    async def free(self, request: FreeRequest) -> None:
        """Workers let go before their next run, the model service at once. Raises Unready."""
        self._leasing.ask_to_free(request)
        if request.unload_models or request.free_memory:
            await self._lists.release_all()


def _folders(specs: Iterable[NodeSpec]) -> set[str]:
    kinds = (item.kind for spec in specs for item in spec.inputs)
    return {kind.folder for kind in kinds if isinstance(kind, OneOf) and kind.folder}


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _memory_bytes() -> tuple[int, int]:
    """(total, available) of this machine; (0, 0) where the kernel does not tell."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return 0, 0
    figures = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    return figures.get("MemTotal", 0), figures.get("MemAvailable", 0)
