"""What nodes and the engine need from the outside, as Protocols; adapters are in `clients/`, fakes in tests/support."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from orchestrator.values.models import FileRef, NetworkRef

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ComponentInfo:
    """One network inside a file, as the model service recognised it."""

    component: str
    arch: str
    facts: Mapping[str, object]


@dataclass(frozen=True)
class ModelInfo:
    """A model file: its identity and what it holds ("checkpoint", "unet", "text_encoder", "vae", "lora" ...)."""

    file: FileRef
    kind: str
    family: str
    components: tuple[ComponentInfo, ...]


@dataclass(frozen=True)
class Servable:
    """A network that is ready to be called; `facts` as in NetworkRef, `endpoint` host:port of a KServe v2 server."""

    id: str
    endpoint: str
    shared_memory: bool
    arch: str
    facts: Mapping[str, object]
    outputs: Sequence[str]


class Models(Protocol):
    """The model service and the KServe endpoint behind it. All calls block, have deadlines and honour cancel."""

    def describe(self, folder: str, name: str) -> ModelInfo:
        """Header facts and digest. Raises NotFound, InvalidModel, Unsupported."""

    def prepare(self, network: NetworkRef) -> Servable:
        """Make it ready (idempotent, remembered). Raises InvalidModel, Unsupported, Busy, Unready, Stopped."""

    def infer(self, servable: Servable, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; arrays are C-contiguous. Raises Unready (server died), TooSlow, Stopped."""

    def read_tensors(self, folder: str, name: str) -> dict[str, np.ndarray]:
        """Small tensors of a file (embeddings), widened to float32. Raises NotFound, InvalidModel."""

    def list_files(self, folder: str) -> tuple[str, ...]:
        """File names of a folder kind."""


@dataclass(frozen=True)
class StoredFile:
    """A file in an area, as ComfyUI names it in ui outputs."""

    filename: str
    subfolder: str
    type: str

    def as_ui(self) -> dict[str, str]:
        """ComfyUI's three-key object."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


class Artifacts(Protocol):
    """Files of the areas "input", "output" and "temp"; every name is resolved inside its root."""

    def input_path(self, annotated_name: str) -> Path:
        """Path of an existing file named `sub/a.png` or `a.png [output]`. Raises InvalidRequest, NotFound."""

    def save(
        self, area: str, prefix: str, extension: str, size: tuple[int, int], write: Callable[[BinaryIO], None]
    ) -> StoredFile:
        """Write under the next free counter of `prefix` (ComfyUI's rules and %tokens%); never overwrites, atomic."""

    def digest(self, annotated_name: str) -> str:
        """SHA-256 of an input file's bytes, for cache keys."""


@dataclass(frozen=True)
class PreviewImage:
    """An encoded picture of work in progress, or a line of text: image/jpeg, image/png or text/plain (UTF-8)."""

    media_type: str
    data: bytes


class Progress(Protocol):
    """Reports a node's own counter; raises Stopped if the run was cancelled, so call it every step."""

    def __call__(self, value: float, maximum: float, preview: PreviewImage | None = None) -> None: ...


@dataclass(frozen=True)
class Ctx:
    """All that a node function gets besides its inputs."""

    run_id: str
    node_id: str
    prompt: Mapping[str, object]
    extra_pnginfo: Mapping[str, object] | None
    models: Models
    artifacts: Artifacts
    progress: Progress
    check_cancelled: Callable[[], None]
    span: Callable[[str], AbstractContextManager[object]]
    settings: Mapping[str, object] = field(default_factory=dict)
    graph: Mapping[str, object] = field(default_factory=dict)
    """Every node of the run as JSON, those that others expanded into included (hidden input DYNPROMPT)."""
    show_text: Callable[[str], None] = field(default=lambda _text: None)
    """Shows a line on the node while it works; nothing of it is kept."""
    call_index: int = 0
    """Which call of the node this is, where inputs are lists."""


class ForeignError(Exception):
    """A node in another process failed; `type_name` and `lines` (its traceback) are that process's own."""

    def __init__(self, type_name: str, message: str, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.type_name = type_name
        self.lines = tuple(lines)
