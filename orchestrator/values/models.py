"""Models as values: what MODEL, CLIP and VAE links carry. Nothing here is loaded; patching returns a new value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType


def _no_facts() -> Mapping[str, object]:
    return MappingProxyType({})


@dataclass(frozen=True)
class FileRef:
    """A model file by folder kind and name; `digest` is the BLAKE3 of its bytes (hex) and enters every cache key."""

    folder: str
    name: str
    digest: str


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter at a strength (any sign; 0 is dropped before it gets here)."""

    file: FileRef
    strength: float


@dataclass(frozen=True)
class NetworkRef:
    """One network: which part of which file, changed by which patches, in order.

    `component` is "unet", "text_encoder", "vae_decoder" or "vae_encoder"; `arch` the architecture id;
    `facts` is what the model service said of it (prediction, latent_scale ...), not part of its identity.
    """

    component: str
    file: FileRef
    arch: str
    patches: tuple[Lora, ...] = ()
    precision: str = "exact"
    facts: Mapping[str, object] = field(default_factory=_no_facts, compare=False)

    def patched(self, patch: Lora) -> NetworkRef:
        """The same network with one more patch."""
        return replace(self, patches=(*self.patches, patch))


@dataclass(frozen=True)
class Model:
    """A diffusion model (MODEL)."""

    network: NetworkRef


@dataclass(frozen=True)
class Clip:
    """A text encoder (CLIP). `stop_at_layer` is ComfyUI's negative index (-1 last, -2 last but one); None: default."""

    network: NetworkRef
    stop_at_layer: int | None = None


@dataclass(frozen=True)
class Vae:
    """An image autoencoder (VAE); either half may be missing from the file."""

    decoder: NetworkRef | None
    encoder: NetworkRef | None
