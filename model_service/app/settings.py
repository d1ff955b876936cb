"""Settings of the model service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from kit.memory import machine_bytes
from kit.settings import KitSettings

MIB = 1024 * 1024
_SHARE_OF_MEMORY = 0.6
_SHARE_OF_PROCESS = 0.85


class ModelServiceSettings(KitSettings):
    """Model service: finds model files and serves the networks in them."""

    data_dir: Path = Field(Path("data"), description="Folder of caches, of the Triton repository and of saved models")
    models_dir: Path = Field(Path("models"), description="Folder of model files, in ComfyUI's layout")
    extra_model_paths: Path | None = Field(None, description="A yaml file of further search paths, as ComfyUI has it")
    model_address: str = Field("127.0.0.1:8190", description="host:port of the model service (gRPC)")
    serving: Literal["embedded", "triton"] = Field("embedded", description="Which engine computes")
    shared_memory: Literal["auto", "off"] = Field(
        "auto", description="Tensors by shared memory where both ends are on one machine"
    )
    memory_budget_mib: Annotated[int, Field(ge=0)] = Field(
        0, description="What all servables together may take in memory, MiB; 0: 60 % of the machine's"
    )
    model_memory_mib: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Private memory of the model service (activations, patched weights), MiB: an inference that needs "
        "more fails; 0: 85 % of the machine's",
    )
    memory_wait_s: Annotated[float, Field(gt=0)] = Field(
        120.0, description="Seconds that loading waits for room held by calls in flight"
    )
    concurrent_calls: Annotated[int, Field(ge=1)] = Field(1, description="Calls of the embedded engine at once")
    compute_threads: Annotated[int, Field(ge=0)] = Field(0, description="Threads of one call; 0: all cores")
    servable_cache_mib: Annotated[int, Field(ge=0)] = Field(
        20 * 1024, description="What bound servables (patched weights) may take on disk, MiB"
    )
    model_threads: Annotated[int, Field(ge=4)] = Field(16, description="Calls that the model service takes at once")
    model_drain_s: Annotated[float, Field(ge=0)] = Field(15.0, description="Seconds that calls have to end on SIGTERM")
    trace_timeout_s: Annotated[float, Field(gt=0)] = Field(
        900.0, description="Limit for making the graph of a network that was never seen before, seconds"
    )
    triton_address: str = Field("127.0.0.1:8191", description="host:port of Triton (gRPC)")
    triton_repository: Path | None = Field(None, description="Triton's model repository; empty: data/triton")
    triton_backend: Literal["python", "onnxruntime"] = Field("python", description="Triton backend that computes")
    triton_gpu: bool = Field(False, description="Triton's instances run on a GPU (onnxruntime backend)")
    triton_instances: Annotated[int, Field(ge=1)] = Field(1, description="Instances of each servable in Triton")
    triton_max_batch: Annotated[int, Field(ge=0)] = Field(
        0, description="Dynamic batching up to so many items, where a network allows it; 0: off"
    )
    triton_queue_delay_us: Annotated[int, Field(ge=0)] = Field(
        2000, description="Microseconds that dynamic batching waits for further requests"
    )
    triton_tensorrt: Literal["off", "FP32", "FP16"] = Field(
        "off", description="TensorRT accelerator of the onnxruntime backend, and its precision"
    )
    triton_python_env: str = Field("", description="Python environment of the Python backend; empty: the server's own")
    telemetry: Literal["off", "otlp", "console"] = Field("off", description="Where spans and metrics go")
    telemetry_endpoint: str = Field("", description="host:port of an OTLP/gRPC collector; empty: OpenTelemetry's own")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe entries shown")

    @property
    def budget_bytes(self) -> int:
        """The memory budget in bytes."""
        if self.memory_budget_mib:
            return self.memory_budget_mib * MIB
        return int(_SHARE_OF_MEMORY * machine_bytes())

    @property
    def model_memory_bytes(self) -> int:
        """The process's limit in bytes."""
        return self.model_memory_mib * MIB or int(_SHARE_OF_PROCESS * machine_bytes())

    @property
    def repository(self) -> Path:
        """Triton's model repository."""
        return self.triton_repository or self.data_dir / "triton"
