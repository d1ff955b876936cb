"""An in-process `Models` with toy networks, artifacts in a folder, and a `Ctx` around them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kit.errors import NotFound, Stopped
from orchestrator.ports import ComponentInfo, Ctx, ModelInfo, PreviewImage, Servable, StoredFile
from orchestrator.values.models import Clip, FileRef, Model, NetworkRef, Vae

WIDTH = 4
LAYERS = 12
SCALE = 0.18215
FACTS: dict[str, dict[str, object]] = {
    "unet": {"prediction": "eps", "latent_channels": 4, "in_channels": 4, "latent_scale": SCALE, "downscale": 8},
    "text_encoder": {"text_width": WIDTH, "text_layers": LAYERS, "text_tokens": 77},
    "vae_decoder": {"latent_channels": 4, "image_channels": 3, "downscale": 8},
    "vae_encoder": {"latent_channels": 4, "image_channels": 3, "downscale": 8},
}


def network(component: str, name: str = "m.safetensors", **facts: object) -> NetworkRef:
    file = FileRef("checkpoints", name, "0" * 64)
    return NetworkRef(component, file, f"toy_{component}", facts={**FACTS[component], **facts})


def model(**facts: object) -> Model:
    return Model(network("unet", **facts))


def clip(stop_at_layer: int | None = None) -> Clip:
    return Clip(network("text_encoder"), stop_at_layer)


def vae() -> Vae:
    return Vae(network("vae_decoder"), network("vae_encoder"))


def toy_text(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each state: token id (or the vector), position, layer, 1."""
    tokens = inputs["tokens"].astype(np.float32)
    hidden = np.stack(
        [
            tokens,
            np.broadcast_to(np.arange(77.0), tokens.shape),
            np.full_like(tokens, inputs["layer"][0]),
            np.ones_like(tokens),
        ],
        axis=-1,
    ).astype(np.float32)
    hidden = np.where(inputs["embeds_mask"] > 0, inputs["embeds"], hidden)
    return {"hidden": hidden, "pooled": hidden[:, 0]}


def toy_unet(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Predicts noise = 0.1 * input + mean of the prompt, so that every input matters."""
    prompt = inputs["context"].mean(axis=(1, 2))[:, None, None, None]
    return {"out": (0.1 * inputs["x"][:, :4] + prompt).astype(np.float32)}


def toy_decoder(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"image": inputs["latent"][:, :3].repeat(8, axis=2).repeat(8, axis=3)}


def toy_encoder(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    batch, _, height, width = inputs["image"].shape
    cells = inputs["image"].reshape(batch, 3, height // 8, 8, width // 8, 8).mean(axis=(3, 5))
    return {"latent": np.concatenate([cells, cells[:, :1]], axis=1)}


_TOYS: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "unet": toy_unet, "text_encoder": toy_text, "vae_decoder": toy_decoder, "vae_encoder": toy_encoder,
}  # fmt: skip


@dataclass
class FakeModels:
    """`files`: folder -> name -> kind; `tensors`: embeddings by file. Calls are recorded as (component, inputs)."""

    files: dict[str, dict[str, str]] = field(default_factory=dict)
    tensors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    components: tuple[str, ...] = ("unet", "text_encoder", "vae_decoder", "vae_encoder")
    calls: list[tuple[str, dict[str, np.ndarray]]] = field(default_factory=list)
    prepared: list[NetworkRef] = field(default_factory=list)

    def describe(self, folder: str, name: str) -> ModelInfo:
        kind = self.files.get(folder, {}).get(name)
        if kind is None:
            raise NotFound("no such file", reason="WEIGHTS_NOT_FOUND", name=name)
        file = FileRef(folder, name, hashlib.sha256(f"{folder}/{name}".encode()).hexdigest())
        parts = self.components if kind == "checkpoint" else (kind,) if kind in FACTS else ()
        return ModelInfo(file, kind, "SD1.5", tuple(ComponentInfo(part, f"toy_{part}", FACTS[part]) for part in parts))

    def prepare(self, network: NetworkRef) -> Servable:
        self.prepared.append(network)
        return Servable(network.component, "nowhere", False, network.arch, network.facts, ())

    def infer(self, servable: Servable, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        assert all(array.flags.c_contiguous for array in inputs.values())
        self.calls.append((servable.id, dict(inputs)))
        return _TOYS[servable.id](inputs)

    def read_tensors(self, folder: str, name: str) -> dict[str, np.ndarray]:
        return self.tensors[name]

    def list_files(self, folder: str) -> tuple[str, ...]:
        return tuple(self.tensors) if folder == "embeddings" else tuple(self.files.get(folder, {}))


@dataclass
class FolderArtifacts:
    """Files below one folder; names get a running number."""

    root: Path
    saved: list[tuple[str, str, str, tuple[int, int]]] = field(default_factory=list)

    def input_path(self, annotated_name: str) -> Path:
        path = self.root / annotated_name
        if not path.is_file():
            raise NotFound("no such file", name=annotated_name)
        return path

    def digest(self, annotated_name: str) -> str:
        return hashlib.sha256(self.input_path(annotated_name).read_bytes()).hexdigest()

    def save(
        self, area: str, prefix: str, extension: str, size: tuple[int, int], write: Callable[[BinaryIO], None]
    ) -> StoredFile:
        self.saved.append((area, prefix, extension, size))
        name = f"{prefix.replace('/', '_')}_{len(self.saved):05}_{extension}"
        with (self.root / name).open("wb") as file:
            write(file)
        return StoredFile(name, "", area)


@dataclass
class Recorder:
    """Progress reports; stops the run at report number `stop_at`."""

    reports: list[tuple[float, float, PreviewImage | None]] = field(default_factory=list)
    stop_at: int | None = None

    def __call__(self, value: float, maximum: float, preview: PreviewImage | None = None) -> None:
        self.reports.append((value, maximum, preview))
        if self.stop_at == len(self.reports):
            raise Stopped("the user stopped it")


def context(
    root: Path | None = None, models: FakeModels | None = None, progress: Recorder | None = None, **settings: object
) -> Ctx:
    return Ctx(
        run_id="run",
        node_id="7",
        prompt={},
        extra_pnginfo=None,
        models=models or FakeModels(),
        artifacts=FolderArtifacts(root or Path("/nonexistent")),
        progress=progress or Recorder(),
        check_cancelled=lambda: None,
        span=lambda name: nullcontext(),
        settings=settings,
    )
