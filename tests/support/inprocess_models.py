"""The `Models` port in one process: networks of model_service's architectures, run eagerly by torch. For tests only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from kit.errors import NotFound
from model_service.archs.registry import detect
from model_service.archs.spec import Component
from model_service.weights.lora import LoraUse, apply_loras
from model_service.weights.reader import TensorFile, read_all_small, read_header
from orchestrator.ports import ComponentInfo, ModelInfo, Servable
from orchestrator.values.models import FileRef, Lora, NetworkRef

_PLAIN = {"loras": "lora", "embeddings": "embedding"}
_FAMILY = "SD1.5"


class InprocessModels:
    """Serves the files below `root` (ComfyUI's folder names). The digest is the one of name, size and time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.calls: list[tuple[str, tuple[int, ...]]] = []
        self._prepared: dict[str, NetworkRef] = {}
        self._network = lru_cache(maxsize=6)(self._load)

    def list_files(self, folder: str) -> tuple[str, ...]:
        return tuple(sorted(path.name for path in (self._root / folder).glob("*") if path.is_file()))

    def _path(self, folder: str, name: str) -> Path:
        path = self._root / folder / name
        if not path.is_file():
            raise NotFound("no such model file", reason="WEIGHTS_NOT_FOUND", folder=folder, name=name)
        return path

    def describe(self, folder: str, name: str) -> ModelInfo:
        path = self._path(folder, name)
        status = path.stat()
        digest = hashlib.sha256(f"{path}/{status.st_size}/{status.st_mtime_ns}".encode()).hexdigest()
        file = FileRef(folder, name, digest)
        if folder in _PLAIN:
            return ModelInfo(file, _PLAIN[folder], "", ())
        found = tuple(ComponentInfo(one.kind, one.arch.id, one.facts) for one in detect(read_header(path)))
        return ModelInfo(file, "checkpoint", _FAMILY, found)

    def read_tensors(self, folder: str, name: str) -> dict[str, np.ndarray]:
        tensors = read_all_small(read_header(self._path(folder, name)))
        return {key: value.astype(np.float32) for key, value in tensors.items()}

    def prepare(self, network: NetworkRef) -> Servable:
        _, component = self._network(network)
        outputs = [output.name for output in component.arch.tensors(component.config).outputs]
        identity = f"{network.component}-{hash(network)}"
        self._prepared[identity] = network
        return Servable(identity, "in process", False, component.arch.id, component.facts, outputs)

    def infer(self, servable: Servable, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        net, component = self._network(self._prepared[servable.id])
        signature = component.arch.tensors(component.config)
        arguments = [torch.from_numpy(np.array(inputs[one.name])) for one in signature.inputs]
        self.calls.append((component.kind, tuple(inputs[signature.inputs[0].name].shape)))
        with torch.inference_mode():
            result = net(*arguments)
        results = result if isinstance(result, tuple) else (result,)
        return {one.name: np.array(tensor.numpy()) for one, tensor in zip(signature.outputs, results, strict=True)}

    def _load(self, network: NetworkRef) -> tuple[torch.nn.Module, Component]:
        header = read_header(self._path(network.file.folder, network.file.name))
        component = next(one for one in detect(header) if one.kind == network.component)
        with torch.device("meta"):
            net = component.arch.build(component.config)
        file = TensorFile(header)
        weights = {name: file.at(entry) for name, entry in component.part.entries.items()}
        if network.patches:
            uses = [self._use(patch) for patch in network.patches]
            weights |= apply_loras(uses, header, component.part.entries, component.arch.id).tensors
        wanted = net.state_dict().keys()
        state = {
            name: torch.from_numpy(value.astype(np.float32)).reshape(net.state_dict()[name].shape)
            for name, value in weights.items()
            if name in wanted
        }
        net.load_state_dict(state, strict=False, assign=True)
        return net.eval(), component

    def _use(self, patch: Lora) -> LoraUse:
        return LoraUse(read_header(self._path(patch.file.folder, patch.file.name)), patch.strength)
