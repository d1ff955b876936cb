"""Where servables answer calls: this process's own engine, or a Triton server that is told to load them."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import onnxruntime

from kit.errors import Busy, NotFound, Unready
from model_service.archs.spec import Signature
from model_service.graphs.options import GraphOptions
from model_service.runtime.engine import Cancellation, Engine, LoadedModel
from model_service.servables.calls import Array, Runnable
from model_service.servables.folders import Manifest
from model_service.servables.repository import RepositoryWriter, Servable
from model_service.servables.residency import Candidate, Occupant, Residency
from model_service.servables.triton import TritonControl

_LOG = logging.getLogger(__name__)
# What a session takes besides its weights: operators, buffers, arenas after a first small run.
SESSION_BYTES = 300 << 20


@dataclass(frozen=True)
class Bound:
    """A servable that is complete on disk. `name`: its file's, for people."""

    id: str
    arch: str
    name: str
    signature: Signature
    manifest: Manifest

    @property
    def estimate_bytes(self) -> int:
        """What it will take in memory, the mapped weights included."""
        recipe = self.manifest.recipe
        private = [path for path in (recipe.model_path, recipe.overlay_path) if path is not None]
        return SESSION_BYTES + recipe.mapped_bytes + sum(Path(path).stat().st_size for path in private)


class Host(Protocol):
    """`engine` names what computes, `options` the graphs it takes; calls go to `endpoint` (host:port, KServe v2)."""

    @property
    def engine(self) -> str: ...
    @property
    def options(self) -> GraphOptions: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def shared_memory(self) -> bool: ...
    def serve(self, bound: Bound) -> None:
        """Bring it into memory; idempotent. Raises InvalidModel, NotFound (WEIGHTS_CHANGED), Busy, Unready."""

    def forget(self, servable_id: str) -> bool:
        """Let go of its folder; False where it is in memory."""


@dataclass(frozen=True)
class Address:
    """Where calls go, and whether that place shares this machine's /dev/shm."""

    endpoint: str
    shared_memory: bool


@dataclass(frozen=True)
class _Watched:
    """A model of the engine, with what its session takes besides the weights counted in.

    `weights`: a descriptor of the mapped file. Nobody else's rename or removal can change what is mapped, writing into
    the file can: no call is answered from then on.
    """

    model: LoadedModel
    bound: Bound
    weights: int

    @property
    def memory_bytes(self) -> int:
        return SESSION_BYTES + self.model.memory_bytes

    @property
    def mapped_bytes(self) -> int:
        return self.model.mapped_bytes

    def infer(
        self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None, cancel: Cancellation | None = None
    ) -> dict[str, Array]:
        _refuse_rewritten(self.bound, self.weights)
        return self.model.infer(inputs, outputs, cancel)

    def close(self) -> None:
        self.model.close()
        os.close(self.weights)


class EmbeddedHost:
    """Servables in this process; the embedded KServe server calls them through `residency`."""

    engine = f"onnxruntime-{onnxruntime.__version__}-cpu-fp32"
    options = GraphOptions()

    def __init__(self, engine: Engine, residency: Residency[Runnable], address: Address) -> None:
        self._engine = engine
        self._residency = residency
        self._served = _Served()
        self.endpoint = address.endpoint
        self.shared_memory = address.shared_memory

    def serve(self, bound: Bound) -> None:
        def opened() -> Runnable:
            _refuse_changed(bound)
            weights = os.open(bound.manifest.source, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _refuse_rewritten(bound, weights)
                return _Watched(self._open(bound), bound, weights)
            except BaseException:
                os.close(weights)
                raise

        if self._served.otherwise(bound):
            self._residency.evict(bound.id)  # its file was written into: the same weights come from another one now
        self._residency.admit(
            Candidate(bound.id, bound.arch, bound.name, bound.signature, bound.estimate_bytes, opened)
        )
        self._residency.load(bound.id)

    def _open(self, bound: Bound) -> LoadedModel:
        """Where memory is short, once more without the servables that nobody uses now."""
        try:
            return self._engine.open(bound.manifest.recipe)
        except Busy:
            if not self._residency.release_idle():
                raise
            return self._engine.open(bound.manifest.recipe)

    def forget(self, servable_id: str) -> bool:
        gone = self._residency.forget(servable_id)
        if gone:
            self._served.forget(servable_id)
        return gone


class _Served:
    """With which manifest each servable was served last; safe for threads."""

    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}
        self._lock = threading.Lock()

    def otherwise(self, bound: Bound) -> bool:
        """Whether it was served from other files than now."""
        with self._lock:
            known = self._manifests.get(bound.id)
            self._manifests[bound.id] = bound.manifest
        return known is not None and known != bound.manifest

    def forget(self, servable_id: str) -> None:
        with self._lock:
            self._manifests.pop(servable_id, None)


@dataclass(frozen=True)
class _InTriton:
    """A model that Triton holds."""

    control: TritonControl
    writer: RepositoryWriter
    id: str
    memory_bytes: int
    mapped_bytes: int

    def close(self) -> None:
        try:
            self.control.unload(self.id)
        except Unready as error:
            _LOG.warning("%s is not unloaded, Triton is away and holds nothing: %s", self.id, error)
        self.writer.remove(self.id)  # its links would keep the weights' file alive


class TritonHost:
    """Servables in a Triton server; clients call it directly, so that it alone knows what is in flight."""

    def __init__(
        self, control: TritonControl, writer: RepositoryWriter, residency: Residency[Occupant], address: Address
    ) -> None:
        self._control = control
        self._writer = writer
        self._residency = residency
        self.endpoint = address.endpoint
        self.shared_memory = address.shared_memory
        self.engine = writer.engine
        self.options = writer.options
        self._served = _Served()
        self._lock = threading.Lock()
        self._took_over = False

    def serve(self, bound: Bound) -> None:
        def loaded() -> Occupant:
            _refuse_changed(bound)
            self._take_over()
            self._writer.write(Servable(bound.id, bound.signature, bound.manifest.recipe))
            self._control.load(bound.id)
            mapped = bound.manifest.recipe.mapped_bytes
            return _InTriton(self._control, self._writer, bound.id, bound.estimate_bytes - mapped, mapped)

        if self._served.otherwise(bound):
            self._residency.evict(bound.id)  # as above
        self._residency.admit(
            Candidate(bound.id, bound.arch, bound.name, bound.signature, bound.estimate_bytes, loaded)
        )
        if not self._control.is_ready(bound.id):
            self._residency.evict(bound.id)  # Triton was restarted, or somebody unloaded it
        self._residency.load(bound.id)

    def forget(self, servable_id: str) -> bool:
        gone = self._residency.forget(servable_id)
        if gone:
            self._served.forget(servable_id)
        return gone

    def _take_over(self) -> None:
        """Once: models of an earlier life of this service leave Triton, nobody counts their memory."""
        self._control.wait_until_live()
        with self._lock:
            if self._took_over:
                return
            self._took_over = True
        for name in self._control.ready_models():
            if self._writer.owns(name) and not self._residency.knows(name):
                _LOG.info("%s was loaded before this service started and is unloaded", name)
                self._control.unload(name)


def _refuse_changed(bound: Bound) -> None:
    if not bound.manifest.is_current:
        raise _changed(bound)


def _refuse_rewritten(bound: Bound, weights: int) -> None:
    """As `_refuse_changed`, of the file that is open: it may have lost its name."""
    status, stamp = os.fstat(weights), bound.manifest.stamp
    if (status.st_size, status.st_mtime_ns) != (stamp.size, stamp.mtime_ns):
        raise _changed(bound)


def _changed(bound: Bound) -> NotFound:
    return NotFound(
        "the file has changed since it was looked up: run the workflow again",
        reason="WEIGHTS_CHANGED",
        name=bound.name,
    )
