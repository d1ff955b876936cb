"""comfy.cli_args: what ComfyUI's command line would have said here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


class _Arguments(SimpleNamespace):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None  # an option that was not given


args = _Arguments(
    listen="127.0.0.1", port=8188, cpu=True, disable_metadata=False, verbose="INFO", multi_user=False,
    preview_method="auto", disable_all_custom_nodes=False, quick_test_for_ci=False, gpu_only=False, highvram=False,
    lowvram=False, novram=False, deterministic=False, fast=set(), front_end_version="",
)  # fmt: skip


def enable_args_parsing(enable: bool = True) -> None:
    """comfy.options: nothing is parsed here."""
