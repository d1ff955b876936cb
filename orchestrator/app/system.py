"""The installation as RunService shows it: nodes, versions, memory."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from orchestrator.clients.model_lists import ModelLists
from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import OneOf
from orchestrator.graph.object_info import all_object_info, object_info
from orchestrator.graph.spec import NodeSpec
from orchestrator.runs.leasing import Leasing
from orchestrator.runs.records import FreeRequest

_LISTS_AGE_S = 1.0
_MEMINFO = Path("/proc/meminfo")


class Installation:
    """Implements `transport.system.System`."""

    def __init__(self, catalogue: Callable[[], Catalogue], lists: ModelLists, leasing: Leasing) -> None:
        self._catalogue = catalogue  # it may change
        self._lists = lists
        self._leasing = leasing

    async def object_info_json(self, node_type: str) -> bytes:
        """ComfyUI's object_info of one class (unknown: {}) or, for "", of all. Raises Unready."""
        catalogue = self._catalogue()
        if node_type and node_type not in catalogue:
            return b"{}"
        specs = [catalogue[node_type]] if node_type else list(catalogue.values())
        lists = await self._lists.snapshot(_folders(specs), _LISTS_AGE_S)

        def render() -> bytes:
            if node_type:
                return json.dumps({node_type: object_info(specs[0], lists)}).encode()
            return json.dumps(all_object_info(catalogue, lists)).encode()

        return await asyncio.to_thread(render)

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


def _folders(specs: list[NodeSpec]) -> set[str]:
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
