"""Graphs by architecture and configuration: shipped in the package, cached on disk, else traced once."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import zstandard

from model_service.archs.spec import Arch
from model_service.graphs.options import GRAPH_VERSION, OPSET, GraphOptions

SHIPPED = Path(__file__).parent / "shipped"
_LEVEL = 19


def graph_key(arch: Arch, config: Any, options: GraphOptions) -> str:
    """File name (without ending) of a graph: it names all that the graph depends on."""
    facts = {"config": asdict(config), "opset": OPSET, "version": GRAPH_VERSION}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return f"{arch.id}-{options.tag}-{digest[:24]}"


class GraphStore:
    """Gives graphs; tracing happens at most once for each key, also when several threads ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def graph_for(self, arch: Arch, config: Any, options: GraphOptions | None = None) -> bytes:
        """Serialised ONNX model without weights.

        Raises Unsupported where an operator of the network has no ONNX form, OSError where the cache is not writable.
        """
        options = options or GraphOptions()
        key = graph_key(arch, config, options)
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            found = shipped(key) or self._cached(key)
            if found is not None:
                return found
            # torch and the tracer are only imported where a graph is really new
            from model_service.graphs.build import build_graph

            graph: bytes = build_graph(arch, config, options).SerializeToString(deterministic=True)
            self._keep(key, compress(graph))
            return graph

    def is_known(self, arch: Arch, config: Any, options: GraphOptions | None = None) -> bool:
        """Whether the graph exists already, so that asking for it costs milliseconds and not the tracing."""
        key = graph_key(arch, config, options or GraphOptions())
        return self._path(key).exists() or (SHIPPED / f"{key}.onnx.zst").exists()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.onnx.zst"

    def _cached(self, key: str) -> bytes | None:
        try:
            return decompress(self._path(key).read_bytes())
        except FileNotFoundError:
            return None
        except zstandard.ZstdError:
            return None  # a damaged cache entry is written anew

    def _keep(self, key: str, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=f"{key}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).replace(self._path(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


def shipped(key: str) -> bytes | None:
    """The graph that travels with the package, None if this one does not."""
    try:
        return decompress((SHIPPED / f"{key}.onnx.zst").read_bytes())
    except FileNotFoundError:
        return None


def compress(graph: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(graph)


def decompress(data: bytes) -> bytes:
    return bytes(zstandard.ZstdDecompressor().decompress(data))
