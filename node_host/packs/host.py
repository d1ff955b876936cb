"""Serves packs: loads them, offers their nodes, and looks now and then whether their choices have changed."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.serve import run_service, stop_event_on_signals
from node_host.nodes import ProvidedNode
from node_host.packs.find import find_packs
from node_host.packs.load import LeftOut, Loaded, load_packs
from node_host.packs.turns import Turns
from node_host.packs.v1 import NodeClass, V1Node
from node_host.packs.values import PackValues
from node_host.provider import Provider, provider_server
from node_host.surface import comfy_nodes, folder_paths, install
from node_host.surface.server import PromptServer

_LOG = logging.getLogger("heliograph.packs")
_LOOK_S = 2.0
_SHARE = 20  # of the time goes at most one part into looking


@dataclass(frozen=True)
class Place:
    """Where packs find files, and the names of the engine's classes; as JSON on the host's command line."""

    data: Path
    models: Path
    kinds: Mapping[str, tuple[Sequence[str], Sequence[str]]]
    class_types: Sequence[str]

    @classmethod
    def from_json(cls, text: str) -> Place:
        """Inverse of `as_json`."""
        found = json.loads(text)
        return cls(Path(found["data"]), Path(found["models"]), found["kinds"], found["class_types"])

    def as_json(self) -> str:
        """For another process."""
        return json.dumps(
            {
                "data": str(self.data), "models": str(self.models), "class_types": list(self.class_types),
                "kinds": {name: [list(folders), list(endings)] for name, (folders, endings) in self.kinds.items()},
            }
        )  # fmt: skip


class Host:
    """The nodes of loaded packs. Make it inside the event loop, after `load`."""

    def __init__(self, loaded: Loaded, turns: Turns) -> None:
        self.left_out = list(loaded.left_out)
        self._nodes: dict[str, V1Node] = {}
        for pack in loaded.packs:
            for class_type, cls in pack.classes.items():
                try:
                    node = V1Node(NodeClass(class_type, cls, pack), turns)
                except Exception as error:  # noqa: BLE001  # boundary: told in the log and in the list
                    why = f"{type(error).__name__}: {error}"
                    self.left_out.append(LeftOut(f"{pack.name}: {class_type}", why))
                    _LOG.warning("the class %s of %s is left out: %s", class_type, pack.name, why)
                    continue
                if class_type in self._nodes:
                    _LOG.warning("the class %s of %s replaces one of an earlier pack", class_type, pack.name)
                self._nodes[class_type] = node

    def provided(self) -> list[ProvidedNode]:
        """All nodes."""
        return [node.provided() for node in self._nodes.values()]

    def refresh(self) -> bool:
        """Reads all declarations again; whether one has changed. One that fails stays as it was."""
        changed = False
        for class_type, node in self._nodes.items():
            try:
                changed |= node.refresh()
            except Exception as error:  # noqa: BLE001  # boundary: told in the log; the class stays
                _LOG.warning("INPUT_TYPES of %s failed: %s: %s", class_type, type(error).__name__, error)
        return changed


def load(place: Place, paths: Sequence[Path]) -> Loaded:
    """Executes the packs' code. Raises NotFound (NODE_PACK)."""
    install.install()
    folder_paths.configure(place.data, place.models, place.kinds)
    comfy_nodes.configure(place.class_types)
    return load_packs(find_packs(paths))


async def serve_packs(address: str, place: Place, paths: Sequence[Path], *, grace_s: float = 5.0) -> None:
    """Serves until SIGTERM or SIGINT."""
    stop = stop_event_on_signals()
    turns = Turns()
    PromptServer.instance.loop = turns.loop
    loaded = await asyncio.to_thread(load, place, paths)
    host = Host(loaded, turns)
    web = {pack.name: pack.web for pack in loaded.packs if pack.web is not None}
    provider = Provider(host.provided(), values=PackValues, web=web)
    looking = asyncio.create_task(_look(host, provider))
    try:
        server = provider_server(provider, address)
        await server.start()
        await server.ready()
        _LOG.info("node packs answer on port %d", server.port)
        await stop.wait()
        provider.end_watches()
        await server.stop(grace_s)
    finally:
        looking.cancel()
        provider.close()
        turns.close()


async def _look(host: Host, provider: Provider) -> None:
    """INPUT_TYPES may list files: seldom enough that looking costs little."""
    pause = _LOOK_S
    while True:
        await asyncio.sleep(pause)
        began = time.monotonic()
        if await asyncio.to_thread(host.refresh):
            provider.replace(host.provided())
        pause = max(_LOOK_S, _SHARE * (time.monotonic() - began))


def main(arguments: Sequence[str]) -> None:
    """ADDRESS PLACE PATH...; ends the process at once, whatever threads of packs still do."""
    address, place, *paths = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    with suppress(KeyboardInterrupt):
        run_service(serve_packs(address, Place.from_json(place), [Path(path) for path in paths]))
    sys.stdout.flush()
    os._exit(0)


def checked(arguments: Sequence[str]) -> int:
    """PLACE PATH...: loads the packs and prints what they have; 1 if something is left out."""
    place, *paths = arguments
    loaded = load(Place.from_json(place), [Path(path) for path in paths])

    async def look() -> Any:
        turns = Turns()
        try:
            return Host(loaded, turns)
        finally:
            turns.close()

    host = asyncio.run(look())
    for pack in loaded.packs:
        web = ", files for browsers" if pack.web is not None else ""
        print(f"ok    {pack.name}: {len(pack.classes)} node(s){web}")
    for out in host.left_out:
        print(f"out   {out.name}: {out.why}")
    return 1 if host.left_out else 0
