"""What RunService asks of the installation besides runs; implemented in app/."""

from __future__ import annotations

from typing import Protocol

from orchestrator.runs.records import FreeRequest


class System(Protocol):
    """The installation."""

    async def object_info_json(self, node_type: str) -> bytes:
        """ComfyUI's object_info of one class (unknown: {}) or, for "", of all. Raises Unready."""

    def facts_json(self) -> bytes:
        """Versions and memory as a JSON object."""

    async def free(self, request: FreeRequest) -> None:
        """Lets go of memory, in workers and in the model service."""
