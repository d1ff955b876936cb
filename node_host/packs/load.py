"""Executes packs' code and takes their node classes; a pack that cannot be loaded is left out with its reason."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import logging
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from node_host.packs.find import PackSource
from node_host.packs.v3 import classes_of
from node_host.surface import comfy_nodes
from node_host.surface.install import public_name
from node_host.surface.missing import NotGiven

_LOG = logging.getLogger("heliograph.packs")
_PARENT = "custom_nodes"
_CANNOT = re.compile(r"cannot import name '([^']+)'")


@dataclass(frozen=True)
class Pack:
    """A loaded pack; `web`: folder of its files for browsers; `version` changes with its code."""

    name: str
    classes: Mapping[str, type[Any]]
    titles: Mapping[str, str]
    web: Path | None
    expands: bool
    version: str

    @property
    def module(self) -> str:
        """As object_info names it."""
        return f"{_PARENT}.{self.name}"


@dataclass(frozen=True)
class LeftOut:
    """A pack that is not there, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Loaded:
    """What came of a list of packs."""

    packs: tuple[Pack, ...]
    left_out: tuple[LeftOut, ...]


def load_packs(sources: Iterable[PackSource]) -> Loaded:
    """In order; every failure is logged. `surface.install.install` comes first."""
    packs: list[Pack] = []
    left_out: list[LeftOut] = []
    for source in sources:
        try:
            pack = _load(source)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # boundary: told in the log and in the list
            why = reason(error)
            left_out.append(LeftOut(source.name, why))
            _LOG.warning("the pack %s is left out: %s", source.name, why)
            _LOG.debug("its traceback:\n%s", "".join(traceback.format_exception(error)))
            continue
        packs.append(pack)
        comfy_nodes.NODE_CLASS_MAPPINGS.update(pack.classes)
        comfy_nodes.NODE_DISPLAY_NAME_MAPPINGS.update(pack.titles)
        _LOG.info("the pack %s has %d nodes", pack.name, len(pack.classes))
    return Loaded(tuple(packs), tuple(left_out))


def reason(error: BaseException) -> str:
    """Why a pack cannot be loaded, in a line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, NotGiven):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ModuleNotFoundError):
        return f"the module {error.name} is not installed where this pack runs: `pip install` what the pack requires"
    if isinstance(error, ImportError):
        taken = _CANNOT.match(error.msg or "")
        public = public_name(error.name or "")
        return str(NotGiven(f"{public}.{taken[1]}")) if taken and public else f"{error.msg}"
    return f"{type(error).__name__}: {error}"


def _load(source: PackSource) -> Pack:
    module = _executed(source)
    classes: Mapping[str, type[Any]] = getattr(module, "NODE_CLASS_MAPPINGS", None) or {}
    titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
    if not classes and hasattr(module, "comfy_entrypoint"):
        classes, titles = asyncio.run(classes_of(module.comfy_entrypoint))
    if not isinstance(classes, Mapping):
        raise TypeError("NODE_CLASS_MAPPINGS is no mapping")
    web = _web(source, module)
    if not classes and web is None:
        raise ValueError("it has neither NODE_CLASS_MAPPINGS nor a WEB_DIRECTORY")
    version = hashlib.blake2b(source.state().encode(), digest_size=8).hexdigest()
    return Pack(
        source.name, {str(name): cls for name, cls in classes.items()},
        {str(name): str(title) for name, title in titles.items()}, web, source.may_expand(), version,
    )  # fmt: skip


def _web(source: PackSource, module: ModuleType) -> Path | None:
    named = getattr(module, "WEB_DIRECTORY", None)
    if named is None or not source.path.is_dir():
        return None
    folder = (source.path / str(named)).resolve()
    return folder if folder.is_dir() else None


def _executed(source: PackSource) -> ModuleType:
    parent = sys.modules.get(_PARENT)
    if parent is None:
        parent = sys.modules[_PARENT] = ModuleType(_PARENT)
        parent.__path__ = []
    folder = str(source.path.parent)
    if folder not in parent.__path__:
        parent.__path__ = [*parent.__path__, folder]
    name = f"{_PARENT}.{source.name.replace('.', '_x_')}"
    places = [str(source.path)] if source.path.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, source.entry, submodule_search_locations=places)
    if spec is None or spec.loader is None:
        raise ImportError(f"{source.entry} is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # Some packs look for a running event loop while they are imported.
        asyncio.run(_execute(spec.loader, module))
    except BaseException:  # goes on to who reports it; a half-made module must not stay
        sys.modules.pop(name, None)
        raise
    return module


async def _execute(loader: Any, module: ModuleType) -> None:
    loader.exec_module(module)
