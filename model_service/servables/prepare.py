"""From a spec to a servable that answers: read, trace if the graph is new, patch, bind, load; once for each spec."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.numpy import save_file

from kit import telemetry
from kit.errors import InvalidModel, NotFound, Stopped
from kit.tensors import stored_name
from model_service.archs.registry import detect
from model_service.archs.spec import Component, Signature
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.identity import stamp_of
from model_service.graphs.bind import bind
from model_service.graphs.options import GraphOptions
from model_service.graphs.store import GraphStore, graph_key
from model_service.runtime.recipe import recipe_for
from model_service.servables.folders import MODEL, OVERLAY, Manifest, ServableFolders
from model_service.servables.hosts import Bound, Host
from model_service.servables.spec import FileRef, Prepared, ServableSpec, Stage, servable_id
from model_service.weights.header import TensorEntry
from model_service.weights.lora import LoraUse, Patch, apply_loras

Report = Callable[[str, float], None]
Tracer = Callable[[Path, str, GraphOptions], None]
_LOOK_S = 0.5


@dataclass(frozen=True)
class Sources:
    """Where weights and graphs come from. `trace(file, arch id, options)` fills the graph store with a new graph."""

    catalogue: Catalogue
    graphs: GraphStore
    trace: Tracer
    folders: ServableFolders
    threads: int = 0


class Preparation:
    """Prepares servables at `host`; safe for threads. What serves already goes on serving meanwhile."""

    def __init__(self, sources: Sources, host: Host, workers: int = 2) -> None:
        self._sources = sources
        self._host = host
        self._lock = threading.Lock()
        self._running: dict[str, _Job] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")

    def prepare(self, spec: ServableSpec, wanted: Callable[[], bool] = lambda: True) -> Iterator[Stage]:
        """Stages as they begin; the last has the servable. Ends with Stopped when `wanted()` becomes False.

        Raises NotFound (WEIGHTS_NOT_FOUND, WEIGHTS_CHANGED), InvalidModel, Unsupported, Busy, Unready, TooSlow.
        """
        with self._lock:
            job = self._running.get(spec.canonical)
            if job is None:
                job = self._running[spec.canonical] = _Job()
                self._pool.submit(self._work, spec, job)
        yield from job.stages(wanted)

    def close(self) -> None:
        """Waits for what is being prepared."""
        self._pool.shutdown()

    def _work(self, spec: ServableSpec, job: _Job) -> None:
        try:
            with telemetry.span(telemetry.SPAN_PREPARE, component=spec.component):
                job.finish(self._prepare(spec, job.report))
        except BaseException as error:  # noqa: BLE001  # boundary: everyone who waits for this job gets it
            job.fail(error)
        finally:
            with self._lock:
                del self._running[spec.canonical]

    def _prepare(self, spec: ServableSpec, report: Report) -> Prepared:
        report("reading", 0.0)
        path = self._checked(spec.file)
        component = self._component(path, spec)
        options, arch = self._host.options, component.arch
        key = servable_id(spec, self._host.engine, graph_key(arch, component.config, options))
        manifest = self._sources.folders.find(key)
        if manifest is None:
            manifest = self._build(key, spec, component, report)
        report("loading", 0.7)
        signature = arch.tensors(component.config)
        self._host.serve(Bound(key, arch.id, spec.file.name, signature, manifest))
        self._sources.folders.trim(self._host.forget)  # what is in memory stays, hence this one
        return self._told(key, component, signature, manifest)

    def _told(self, key: str, component: Component, signature: Signature, manifest: Manifest) -> Prepared:
        host = self._host
        return Prepared(
            key, host.endpoint, host.shared_memory, component.arch.id, component.facts, signature, manifest.unmatched
        )

    def _checked(self, file: FileRef) -> Path:
        """The file, if its content is what the digest says."""
        path = self._sources.catalogue.resolve(file.folder, file.name)
        if self._sources.catalogue.digest_at(path) != file.digest:
            raise NotFound(
                "the file has changed since it was looked up: run the workflow again",
                reason="WEIGHTS_CHANGED", folder=file.folder, name=file.name, wanted=file.digest,
            )  # fmt: skip
        return path

    def _component(self, path: Path, spec: ServableSpec) -> Component:
        found = detect(self._sources.catalogue.header_at(path))
        for component in found:
            if component.kind == spec.component:
                return component
        raise InvalidModel(
            "the file holds no such component", reason="COMPONENT_MISSING",
            file=path.name, component=spec.component, found=", ".join(one.kind for one in found),
        )  # fmt: skip

    def _build(self, key: str, spec: ServableSpec, component: Component, report: Report) -> Manifest:
        """Trace, patch and bind into the servable's folder."""
        options, sources = self._host.options, self._sources
        path = component.part.header.path
        stamp = stamp_of(path)
        if not sources.graphs.is_known(component.arch, component.config, options):
            report("tracing", 0.1)
            sources.trace(path, component.arch.id, options)
        graph = sources.graphs.graph_for(component.arch, component.config, options)
        patch = Patch({}, ())
        if spec.patches:
            report("patching", 0.4)
            patch = self._patched(spec, component)
        overlay = {
            name: TensorEntry(name, stored_name(values.dtype), values.shape, 0, values.nbytes)
            for name, values in patch.tensors.items()
        }
        bound = bind(graph, component.part, component.arch.unused, overlay)
        final = sources.folders.path(key)

        def fill(folder: Path) -> Manifest:
            (folder / MODEL).write_bytes(bound.model)
            if patch.tensors:
                save_file(dict(patch.tensors), folder / OVERLAY)
            if stamp_of(path) != stamp:
                raise NotFound("the file changed while it was read", reason="WEIGHTS_CHANGED", file=path.name)
            overlay_path = final / OVERLAY if patch.tensors else None
            recipe = recipe_for(bound, final / MODEL, sources.threads, overlay_path)
            unmatched = tuple(name for names in patch.unmatched for name in names)
            return Manifest(recipe, str(path), stamp, unmatched)

        return sources.folders.write(key, fill)

    def _patched(self, spec: ServableSpec, component: Component) -> Patch:
        headers = [self._sources.catalogue.header_at(self._checked(patch.file)) for patch in spec.patches]
        uses = [LoraUse(header, patch.strength) for header, patch in zip(headers, spec.patches, strict=True)]
        part = component.part
        return apply_loras(uses, part.header, part.entries, component.arch.id)


@dataclass
class _Job:
    """One preparation that any number of callers follow."""

    told: list[Stage] = field(default_factory=lambda: [Stage("queued", 0.0)])
    error: BaseException | None = None
    done: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def report(self, name: str, fraction: float) -> None:
        self._tell(Stage(name, fraction))

    def finish(self, prepared: Prepared) -> None:
        self._tell(Stage("ready", 1.0, prepared), done=True)

    def fail(self, error: BaseException) -> None:
        with self.changed:
            self.error, self.done = error, True
            self.changed.notify_all()

    def stages(self, wanted: Callable[[], bool]) -> Iterator[Stage]:
        seen = 0
        while True:
            with self.changed:
                while seen == len(self.told) and not self.done:
                    if not wanted():
                        raise Stopped("nobody waits for it any more", reason="CALL_CANCELLED")
                    self.changed.wait(_LOOK_S)
                fresh, error, done = self.told[seen:], self.error, self.done
            yield from fresh
            seen += len(fresh)
            if error is not None:
                raise error
            if done:
                return

    def _tell(self, stage: Stage, done: bool = False) -> None:
        with self.changed:
            self.told.append(stage)
            self.done = done
            self.changed.notify_all()
