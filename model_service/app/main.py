"""The model service's process: `python -m model_service.app.main`."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from kit import telemetry
from kit.errors import HeliographError
from kit.memory import lift_memory_limit, limit_memory
from kit.serve import Register, SyncServer, sync_server
from model_service.app.settings import MIB, ModelServiceSettings
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import Folders, model_folders
from model_service.catalogue.identity import Identities
from model_service.graphs.store import GraphStore
from model_service.runtime.engine import OrtEngine
from model_service.servables.calls import Calls, Lane, Runnable
from model_service.servables.folders import ServableFolders
from model_service.servables.hosts import Address, EmbeddedHost, Host, TritonHost
from model_service.servables.prepare import Preparation, Sources
from model_service.servables.repository import RepositoryWriter, TensorRT, TritonOptions
from model_service.servables.residency import Occupant, Residency
from model_service.servables.statistics import Statistics
from model_service.servables.tracing import trace_apart
from model_service.servables.triton import TritonControl
from model_service.transport import kserve, models
from model_service.transport.kserve import KServeServicer
from model_service.transport.models import ModelServicer
from model_service.transport.regions import Regions

TEMPLATES = Path(__file__).resolve().parents[2] / "triton_repo"
_LOG = logging.getLogger("heliograph.model")
_LOOPBACK = ("127.", "localhost", "[::1]")


@dataclass
class ModelServer:
    """The wired service; `stop` drains."""

    server: SyncServer
    preparation: Preparation
    identities: Identities
    serving: bool = False

    def start(self) -> None:
        """Begins to answer."""
        self.server.start()
        self.serving = True
        self.server.ready()

    def stop(self, grace_s: float) -> None:
        """Refuses new calls, lets running ones end within `grace_s` seconds."""
        self.serving = False
        self.server.stop(grace_s)
        self.preparation.close()
        self.identities.close()


def build(settings: ModelServiceSettings) -> ModelServer:
    """Wire everything once. Raises InvalidRequest (settings that do not fit), Unready (ADDRESS_IN_USE)."""
    identities = Identities(settings.data_dir.absolute() / "cache")
    try:
        return _wired(settings, identities)
    except BaseException:
        identities.close()
        raise


def _wired(settings: ModelServiceSettings, identities: Identities) -> ModelServer:
    data = settings.data_dir.absolute()
    cache = data / "cache"
    folders = model_folders(settings.models_dir, data / "output", settings.extra_model_paths)
    catalogue = Catalogue(folders, identities)
    graphs = cache / "graphs"
    sources = Sources(
        catalogue,
        GraphStore(graphs),
        lambda path, arch, options: trace_apart(path, arch, graphs, options, settings.trace_timeout_s),
        ServableFolders(cache / "servables", settings.servable_cache_mib * MIB),
        settings.compute_threads,
    )
    if settings.serving == "triton":
        return _on_triton(settings, folders, identities, sources)
    residency: Residency[Runnable] = Residency(settings.budget_bytes, settings.memory_wait_s)
    host = EmbeddedHost(OrtEngine(), residency, _address(settings, settings.model_address))
    preparation = Preparation(sources, host)
    calls = Calls(residency, Lane(settings.concurrent_calls), Statistics())
    servicer = KServeServicer(calls, Regions(), lambda: built.serving)
    services: dict[str, Register] = {
        models.SERVICE: models.register(ModelServicer(folders, catalogue, preparation, residency)),
        kserve.SERVICE: kserve.register(servicer),
    }
    built = ModelServer(_server(settings, services), preparation, identities)
    return built


def _on_triton(
    settings: ModelServiceSettings, folders: Folders, identities: Identities, sources: Sources
) -> ModelServer:
    control = TritonControl(settings.triton_address)
    residency: Residency[Occupant] = Residency(settings.budget_bytes, settings.memory_wait_s, control.last_inference_ms)
    tensorrt = None if settings.triton_tensorrt == "off" else TensorRT(settings.triton_tensorrt)
    options = TritonOptions(
        backend=settings.triton_backend,
        gpu=settings.triton_gpu,
        instances=settings.triton_instances,
        max_batch=settings.triton_max_batch,
        queue_delay_us=settings.triton_queue_delay_us,
        tensorrt=tensorrt,
        environment=settings.triton_python_env,
    )
    writer = RepositoryWriter(settings.repository.absolute(), TEMPLATES, options)
    host: Host = TritonHost(control, writer, residency, _address(settings, settings.triton_address))
    preparation = Preparation(sources, host)
    servicer = ModelServicer(folders, sources.catalogue, preparation, residency)
    services: dict[str, Register] = {models.SERVICE: models.register(servicer)}
    return ModelServer(_server(settings, services), preparation, identities)


def _server(settings: ModelServiceSettings, services: dict[str, Register]) -> SyncServer:
    return sync_server(settings.model_address, services, service="model", threads=settings.model_threads)


def _address(settings: ModelServiceSettings, endpoint: str) -> Address:
    return Address(endpoint, settings.shared_memory == "auto" and endpoint.startswith(_LOOPBACK))


def main() -> int:
    """Serve until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # first of all: a stop during the start is one, too
        signal.signal(number, lambda *_: stop.set())
    settings = ModelServiceSettings.load()
    logging.basicConfig(
        stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    limit_memory(settings.model_memory_bytes)
    telemetry.start("model", settings.telemetry, settings.telemetry_endpoint)
    try:
        built = build(settings)
    except HeliographError as error:
        print(f"model service: {error}", file=sys.stderr)
        return 1
    built.start()
    _LOG.info("serving on %s by %s", settings.model_address, settings.serving)
    stop.wait()
    lift_memory_limit()
    built.stop(settings.model_drain_s)
    telemetry.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
