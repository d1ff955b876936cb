"""Settings of the orchestrator's two processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from kit.memory import machine_bytes
from kit.settings import KitSettings

MIB = 1024 * 1024
_ADDRESS = re.compile(r"[^\s/,]+:\d{1,5}\Z")


class OrchestratorSettings(KitSettings):
    """Orchestrator: what both processes share."""

    data_dir: Path = Field(Path("data"), description="Folder of the run store and of input, output, temp files")
    front_address: str = Field("127.0.0.1:8189", description="host:port of the orchestrator's front (gRPC)")
    model_address: str = Field("127.0.0.1:8190", description="host:port of the model service (gRPC)")
    node_providers: str = Field(
        "", description="host:port,host:port of services with nodes of their own (gRPC, NodeProvider); empty: none"
    )
    node_check_s: Annotated[float, Field(gt=0)] = Field(
        10.0, description="Deadline of a provider's validation, fingerprint and lazy check, seconds"
    )
    telemetry: Literal["off", "otlp", "console"] = Field("off", description="Where spans and metrics go")
    telemetry_endpoint: str = Field("", description="host:port of an OTLP/gRPC collector; empty: OpenTelemetry's own")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe entries shown")

    @field_validator("node_providers")
    @classmethod
    def _addresses(cls, text: str) -> str:
        found = _split(text)
        if wrong := [address for address in found if not _ADDRESS.match(address)]:
            raise ValueError(f"not host:port: {', '.join(wrong)}")
        if len(set(found)) != len(found):
            raise ValueError("an address occurs twice")
        return text

    @property
    def provider_addresses(self) -> tuple[str, ...]:
        """Of `node_providers`, in order."""
        return _split(self.node_providers)


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class FrontSettings(OrchestratorSettings):
    """Orchestrator front: accepts, stores and lists runs, streams events."""

    queue_limit: Annotated[int, Field(ge=1)] = Field(10_000, description="Prompts that may wait")
    queue_mib: Annotated[int, Field(ge=1, le=32)] = Field(
        32, description="What waiting prompts may take together, MiB; the whole queue must fit one answer"
    )
    history_limit: Annotated[int, Field(ge=1)] = Field(10_000, description="Finished runs that are kept")
    lease_s: Annotated[float, Field(gt=0)] = Field(30.0, description="A worker silent for so many seconds is lost")
    reattach_s: Annotated[float, Field(gt=0)] = Field(
        10.0, description="Seconds that a worker has to claim its run after the front restarted"
    )
    max_upload_mib: Annotated[int, Field(ge=1)] = Field(100, description="Largest uploaded file, MiB")
    model_timeout_s: Annotated[float, Field(gt=0)] = Field(10.0, description="Deadline of a model list, seconds")
    front_drain_s: Annotated[float, Field(ge=0)] = Field(5.0, description="Seconds that calls have to end on SIGTERM")


class WorkerSettings(OrchestratorSettings):
    """Orchestrator worker: executes runs."""

    serving: Literal["embedded", "triton"] = Field("embedded", description="Which server runs the networks")
    shared_memory: Literal["auto", "off"] = Field(
        "auto",
        description="auto: tensors go by shared memory where the model server or node provider is on this machine",
    )
    cache_mib: Annotated[int, Field(ge=0)] = Field(2048, description="Node results kept in memory, MiB")
    worker_memory_mib: Annotated[int, Field(ge=0)] = Field(
        0, description="Private memory of a worker, MiB: a node that needs more fails; 0: half of the machine's"
    )
    cpu_slots: Annotated[int, Field(ge=1)] = Field(
        1, description="CPU nodes of a run at once; 1: strictly one after the other, in ComfyUI's order"
    )
    node_timeout_s: Annotated[float, Field(gt=0)] = Field(
        3600.0, description="Deadline of one call of a provider's node, seconds"
    )
    previews: bool = Field(True, description="Pictures of work in progress")
    debug_errors: bool = Field(False, description="Tracebacks in execution errors")
    heartbeat_s: Annotated[float, Field(gt=0)] = Field(3.0, description="A busy worker says so every so many seconds")
    worker_drain_s: Annotated[float, Field(ge=0)] = Field(
        20.0, description="Seconds that a run has to end on SIGTERM before it is given back"
    )
    outcome_patience_s: Annotated[float, Field(gt=0)] = Field(
        120.0, description="Seconds that a finished run waits for a front that is away"
    )

    @property
    def worker_memory_bytes(self) -> int:
        """The limit in bytes."""
        return self.worker_memory_mib * MIB or machine_bytes() // 2
