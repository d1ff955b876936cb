"""A small checkpoint of all components and everything around it that Prepare needs, without sockets or tracing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from model_service.archs.registry import arch
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import model_folders
from model_service.catalogue.identity import Identities
from model_service.graphs.options import GraphOptions
from model_service.graphs.store import GraphStore, compress, graph_key
from model_service.runtime.engine import OrtEngine
from model_service.servables.calls import Runnable
from model_service.servables.folders import ServableFolders
from model_service.servables.hosts import Address, EmbeddedHost
from model_service.servables.prepare import Preparation, Sources
from model_service.servables.residency import Residency
from model_service.servables.spec import FileRef, LoraPatch, Prepared, ServableSpec, Stage
from tests.unit.model_service.archs import tiny

UNET = "sd15_unet"
PLAIN = GraphOptions()
SIDES = {"batch": 1, "height": 8, "width": 8, "tokens": 7}
LORA_STEM = "lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_q"
LORA_TARGET = "input_blocks.3.1.transformer_blocks.0.attn1.to_q.weight"


@dataclass
class Workplace:
    """Files below `root`; `traced` lists the architectures whose graphs had to be made."""

    root: Path
    limit_bytes: int = 1 << 30
    budget_bytes: int = 1 << 40
    traced: list[str] = field(default_factory=list)
    opened: list[Preparation] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.root / "models/checkpoints").mkdir(parents=True, exist_ok=True)
        (self.root / "models/loras").mkdir(parents=True, exist_ok=True)
        self.cache = self.root / "cache"
        self.identities = Identities(self.cache)
        self.catalogue = Catalogue(model_folders(self.root / "models"), self.identities)
        self.folders = ServableFolders(self.cache / "servables", self.limit_bytes)
        self.residency: Residency[Runnable] = Residency(self.budget_bytes)
        self.graphs = GraphStore(self.cache / "graphs")

    def sources(self) -> Sources:
        return Sources(self.catalogue, self.graphs, self._traced, self.folders, threads=1)

    def preparation(self, sources: Sources | None = None) -> Preparation:
        host = EmbeddedHost(OrtEngine(), self.residency, Address("here:1", True))
        self.opened.append(Preparation(sources or self.sources(), host))
        return self.opened[-1]

    def close(self) -> None:
        for preparation in self.opened:
            preparation.close()
        self.identities.close()

    def write_checkpoint(self, name: str = "model.safetensors", seed: int = 0) -> Path:
        path = self.root / "models/checkpoints" / name
        parts = [tiny.tensors(tiny.network(one, seed=seed)).under(prefix) for one, prefix in tiny.PREFIXES.items()]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole | part
        whole.to(torch.float16).write(path)
        return path

    def write_lora(self, name: str = "lora.safetensors", stem: str = LORA_STEM, seed: int = 5) -> np.ndarray:
        """The product of its pair, at strength 1."""
        rng = np.random.default_rng(seed)
        shape = dict(tiny.network(UNET).state_dict())[LORA_TARGET].shape
        up, down = (rng.standard_normal(size, dtype=np.float32) for size in ((shape[0], 2), (2, shape[1])))
        tensors = {f"{stem}.lora_up.weight": up, f"{stem}.lora_down.weight": down, f"{stem}.alpha": np.float32([2.0])}
        save_file(tensors, self.root / "models/loras" / name)
        return up @ down

    def file(self, folder: str, name: str) -> FileRef:
        return FileRef(folder, name, self.catalogue.digest(folder, name))

    def spec(self, component: str = "unet", lora: float | None = None) -> ServableSpec:
        patches = () if lora is None else (LoraPatch(self.file("loras", "lora.safetensors"), lora),)
        return ServableSpec(component, self.file("checkpoints", "model.safetensors"), patches)

    def infer(self, prepared: Prepared, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self.residency.lease(prepared.id) as network:
            return network.infer(feeds)

    def _traced(self, path: Path, arch_id: str, options: GraphOptions) -> None:
        self.traced.append(arch_id)
        self.provide(arch_id, options)

    def provide(self, arch_id: str, options: GraphOptions = PLAIN) -> None:
        """Put the small network's graph where traced ones are kept."""
        key = graph_key(arch(arch_id), tiny.CONFIGS[arch_id], options)
        (self.cache / "graphs").mkdir(parents=True, exist_ok=True)
        (self.cache / "graphs" / f"{key}.onnx.zst").write_bytes(compress(tiny.graph(arch_id, options.portable)))


def last(stages: list[Stage]) -> Prepared:
    assert stages[-1].prepared is not None
    return stages[-1].prepared
