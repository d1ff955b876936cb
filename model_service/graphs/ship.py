"""Rebuilds the graphs that travel with the package: `python -m model_service.graphs.ship [--check]`.

They are those of every architecture's samples, so that common models never wait for a tracer, nor need torch.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_service.archs.registry import all_archs
from model_service.archs.spec import Arch
from model_service.graphs.options import GRAPH_VERSION, GraphOptions
from model_service.graphs.store import SHIPPED, compress, decompress, graph_key

INDEX = "index.json"


@dataclass(frozen=True)
class Shipment:
    """One graph that is to be shipped."""

    arch: Arch
    config: Any
    options: GraphOptions

    @property
    def key(self) -> str:
        return graph_key(self.arch, self.config, self.options)


def shipments() -> Iterator[Shipment]:
    """All graphs that belong into the package."""
    for arch in all_archs():
        for config in arch.samples:
            yield Shipment(arch, config, GraphOptions())


def index_entry(shipment: Shipment, graph: bytes) -> dict[str, Any]:
    """What the index says about one graph."""
    return {
        "arch": shipment.arch.id,
        "config": asdict(shipment.config),
        "options": asdict(shipment.options),
        "sha256": hashlib.sha256(graph).hexdigest(),
    }


def problems(folder: Path) -> list[str]:
    """What is wrong with the shipped files by themselves, without tracing anything."""
    index = json.loads((folder / INDEX).read_text())["graphs"]
    wanted = {shipment.key: shipment for shipment in shipments()}
    files = {file.name.removesuffix(".onnx.zst") for file in folder.glob("*.onnx.zst")}
    found = [f"{key}: not shipped" for key in sorted(wanted.keys() - files)]
    found += [f"{key}: belongs to no sample" for key in sorted(files - wanted.keys())]
    for key in sorted(wanted.keys() & files):
        graph = decompress((folder / f"{key}.onnx.zst").read_bytes())
        if index.get(key) != json.loads(json.dumps(index_entry(wanted[key], graph))):
            found.append(f"{key}: the index says otherwise")
    return found


def write(folder: Path) -> None:
    """Trace every graph and write it, with the index, in place of what is there."""
    from model_service.graphs.build import build_graph

    folder.mkdir(parents=True, exist_ok=True)
    index: dict[str, Any] = {}
    for shipment in shipments():
        graph = build_graph(shipment.arch, shipment.config, shipment.options).SerializeToString(deterministic=True)
        (folder / f"{shipment.key}.onnx.zst").write_bytes(compress(graph))
        index[shipment.key] = index_entry(shipment, graph)
        print(f"{shipment.key}  {len(graph)} bytes")
    for file in folder.glob("*.onnx.zst"):
        if file.name.removesuffix(".onnx.zst") not in index:
            file.unlink()
    made_with = {name: version(name) for name in ("torch", "onnx")}
    text = json.dumps(
        {"graph_version": GRAPH_VERSION, "made_with": made_with, "graphs": index}, indent=1, sort_keys=True
    )
    (folder / INDEX).write_text(text + "\n")


def differences(folder: Path) -> list[str]:
    """Trace every graph anew and compare with what is shipped."""
    from model_service.graphs.build import build_graph

    found = problems(folder)
    index = json.loads((folder / INDEX).read_text())["graphs"]
    for shipment in shipments():
        graph = build_graph(shipment.arch, shipment.config, shipment.options).SerializeToString(deterministic=True)
        if index.get(shipment.key, {}).get("sha256") != hashlib.sha256(graph).hexdigest():
            found.append(f"{shipment.key}: tracing gives another graph; raise GRAPH_VERSION and ship again")
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="trace and compare, write nothing")
    if not parser.parse_args(arguments).check:
        write(SHIPPED)
        return 0
    found = differences(SHIPPED)
    print("\n".join(found) or "all shipped graphs are as traced")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
