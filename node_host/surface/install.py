"""Puts our modules behind the names that packs import; must happen before any pack is loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import NoReturn

from node_host.surface.missing import MissingModule, NotGiven

_HERE = "node_host.surface"
GIVEN = {
    "comfy.cli_args": "cli_args",
    "comfy.comfy_types": "comfy_types",
    "comfy.comfy_types.node_typing": "comfy_types",
    "comfy.model_management": "model_management",
    "comfy.options": "cli_args",
    "comfy.samplers": "samplers",
    "comfy.utils": "comfy_utils",
    "comfy_api.latest": "comfy_api",
    "comfy_api.latest.io": "comfy_io",
    "comfy_api.latest._io": "comfy_io",
    "comfy_api.v0_0_1": "comfy_api",
    "comfy_api.v0_0_2": "comfy_api",
    "comfy_execution.graph": "graph_utils",
    "comfy_execution.graph_utils": "graph_utils",
    "comfy_execution.progress": "contexts",
    "comfy_execution.utils": "contexts",
    "folder_paths": "folder_paths",
    "node_helpers": "node_helpers",
    "nodes": "comfy_nodes",
    "server": "server",
}
"""Public names, and our module of each."""
_OURS = frozenset(
    [
        "comfy", "comfy_api", "comfy_api_nodes", "comfy_execution", "comfy_extras", "comfyui_version", "execution",
        "folder_paths", "latent_preview", "node_helpers", "nodes", "server",
    ]
)  # fmt: skip
VERSION = "0.3.64"
"""The ComfyUI whose behaviour is followed."""


class _Names(MetaPathFinder, Loader):
    """Before all other finders, so that nothing installed hides behind one of these names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of the names above and what may be a module below them: not a class, which has a capital letter."""
        if fullname.partition(".")[0] not in _OURS or fullname.rpartition(".")[2][:1].isupper():
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Ours if there is one."""
        ours = GIVEN.get(spec.name)
        if ours is None:
            module: ModuleType = MissingModule(spec.name)
            if spec.name == "comfyui_version":
                vars(module)["__version__"] = VERSION
            return module
        module = import_module(f"{_HERE}.{ours}")
        if not hasattr(module, "__getattr__"):
            vars(module)["__getattr__"] = _refusing(spec.name)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It was executed when it was imported."""


def public_name(module: str) -> str:
    """What packs call one of our modules; empty: it is none of these."""
    if module.partition(".")[0] in _OURS:
        return module
    return next((public for public, ours in GIVEN.items() if module == f"{_HERE}.{ours}"), "")


def _refusing(public: str) -> Callable[[str], NoReturn]:
    def refuse(name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        raise NotGiven(f"{public}.{name}")

    return refuse


def install() -> None:
    """Once; a second time does nothing."""
    if not any(isinstance(finder, _Names) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Names())
