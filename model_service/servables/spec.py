"""What is to be served: a network of a file, changed by patches, and the id that is made from it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from kit.errors import InvalidRequest, Unsupported
from model_service.archs.spec import Fact, Signature

COMPONENTS = ("unet", "text_encoder", "vae_decoder", "vae_encoder")
EXACT = "exact"
_DIGEST_DIGITS = 64
_ID_DIGITS = 32


@dataclass(frozen=True)
class FileRef:
    """A model file; `digest` is the BLAKE3 of its content, 64 lower-case hexadecimal digits."""

    folder: str
    name: str
    digest: str


@dataclass(frozen=True)
class LoraPatch:
    """A LoRA file at a strength of any sign."""

    file: FileRef
    strength: float


@dataclass(frozen=True)
class ServableSpec:
    """`component` of `file`, patched in order. Raises InvalidRequest or Unsupported where that says nothing."""

    component: str
    file: FileRef
    patches: tuple[LoraPatch, ...] = ()
    precision: str = EXACT

    def __post_init__(self) -> None:
        if self.component not in COMPONENTS:
            raise InvalidRequest(
                "no such component", reason="COMPONENT", component=self.component[:64], known=", ".join(COMPONENTS)
            )
        if self.precision != EXACT:
            raise Unsupported(
                "this precision is not served: leave it empty or say exact",
                reason="PRECISION",
                precision=self.precision[:64],
            )
        for file in (self.file, *(patch.file for patch in self.patches)):
            if len(file.digest) != _DIGEST_DIGITS or set(file.digest) - set("0123456789abcdef"):
                raise InvalidRequest(
                    "a file is named without its digest", reason="DIGEST", folder=file.folder, name=file.name[:256]
                )
        for patch in self.patches:
            if not math.isfinite(patch.strength):
                raise InvalidRequest("a LoRA's strength is no number", reason="LORA_STRENGTH", strength=patch.strength)

    @property
    def canonical(self) -> str:
        """Equal for specs that mean the same weights: digests, never names."""
        return json.dumps(
            {
                "component": self.component,
                "file": self.file.digest,
                "patches": [{"lora": patch.file.digest, "strength": repr(patch.strength)} for patch in self.patches],
                "precision": self.precision,
            },
            sort_keys=True,
        )


def servable_id(spec: ServableSpec, engine: str, graph: str) -> str:
    """Name at the KServe endpoint; `engine` and `graph` name all else that the answers depend on."""
    text = json.dumps([spec.canonical, engine, graph])
    return f"{spec.component}-{hashlib.sha256(text.encode()).hexdigest()[:_ID_DIGITS]}"


@dataclass(frozen=True)
class Prepared:
    """A servable that answers calls. `unmatched`: adapter keys that named nothing in this component."""

    id: str
    endpoint: str
    shared_memory: bool
    arch: str
    facts: Mapping[str, Fact]
    signature: Signature
    unmatched: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """What is being done: queued, reading, tracing, patching, loading, ready. `fraction` of the whole, 0 to 1."""

    name: str
    fraction: float
    prepared: Prepared | None = field(default=None)
