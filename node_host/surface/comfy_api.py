"""comfy_api.*: progress for nodes that await, and placeholders for the rest."""

from __future__ import annotations

from typing import Any

from node_host.surface import comfy_io, running
from node_host.surface.comfy_utils import as_preview

io = ui = comfy_io


class _Execution:
    async def set_progress(
        self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:  # fmt: skip
        """Of the node that is running."""
        running.progress(float(value), float(max_value), as_preview(preview_image))


class _ExecutionSync:
    def set_progress(
        self, value: float, max_value: float, node_id: str | None = None, preview_image: Any = None,
        ignore_size_limit: bool = False,
    ) -> None:  # fmt: skip
        """Of the node that is running."""
        running.progress(float(value), float(max_value), as_preview(preview_image))


class ComfyAPI:
    """For coroutines."""

    VERSION = "latest"
    STABLE = False

    def __init__(self) -> None:
        self.execution = _Execution()


class ComfyAPISync:
    """For plain functions."""

    VERSION = "latest"
    STABLE = False

    def __init__(self) -> None:
        self.execution = _ExecutionSync()


class ComfyAPI_latest(ComfyAPI):
    """The same under its long name."""


class ComfyExtension:
    """What a pack's comfy_entrypoint returns."""

    async def on_load(self) -> None:
        """Called once, before its list is read."""

    async def get_node_list(self) -> list[type[Any]]:
        """Its node classes."""
        raise NotImplementedError("the pack's extension does not say which nodes it has")
