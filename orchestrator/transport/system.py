"""What RunService asks of the installation besides runs; implemented in app/."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.runs.records import FreeRequest


@dataclass(frozen=True)
class ObjectInfo:
    """ComfyUI's object_info of all classes as JSON; `version` is equal for equal texts."""

    version: str
    text: bytes
    gzipped: bytes


class System(Protocol):
    """The installation."""

    async def object_info(self) -> ObjectInfo:
        """Of all classes, as of now. Raises Unready."""

    async def one_object_info(self, node_type: str) -> bytes:
        """Of one class, as JSON; unknown: {}. Raises Unready."""

    def facts_json(self) -> bytes:
        """Versions and memory as a JSON object."""

    async def free(self, request: FreeRequest) -> None:
        """Lets go of memory, in workers and in the model service."""
