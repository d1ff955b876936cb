"""From a model file to something that answers: CPU seconds of the model service, for full-size SD1.5 checkpoints."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.report import Row
from bench.service import service
from bench.weights import FOLDER, checkpoint, lora
from orchestrator.clients.models import GrpcModels, ModelClientOptions
from orchestrator.values.models import Lora, NetworkRef
from tests.support.stack import Stack


def measure() -> list[Row]:
    """Prepare of a first and a second checkpoint of one architecture, and of a LoRA on the first."""
    for name, seed in (("bench-a", 1), ("bench-b", 2)):
        checkpoint(name, seed)
    lora("bench-lora", seed=3)
    with service(FOLDER) as stack:
        client = GrpcModels(ModelClientOptions(stack.models))
        process = _model_service(stack)
        rows, references = [], []
        for name in ("bench-a", "bench-b"):
            begun, cpu = time.perf_counter(), _cpu_s(process)
            info = client.describe("checkpoints", f"{name}.safetensors")
            described, described_cpu = time.perf_counter() - begun, _cpu_s(process) - cpu
            part = next(each for each in info.components if each.component == "unet")
            references.append(NetworkRef("unet", info.file, part.arch, facts=part.facts))
            wall, cpu = _timed(process, lambda: client.prepare(references[-1]))
            note = f"wall {wall:.2f} s; baseline: its digest and header (wall {described:.2f} s)"
            rows.append(Row(f"Prepare UNet of {name}, CPU", cpu, described_cpu, "s", note))
        rows.append(_anonymous(client, process, references[0]))
        file = client.describe("loras", "bench-lora.safetensors").file
        patched = references[0].patched(Lora(file, 0.7))
        wall, cpu = _timed(process, lambda: client.prepare(patched))
        rows.append(
            Row("Prepare with a LoRA, CPU", cpu, rows[0].value, "s", f"wall {wall:.2f} s; baseline: without it")
        )
        client.close()
    return rows


def _anonymous(client: GrpcModels, process: int, network: NetworkRef) -> Row:
    """Private memory of the model service after one forward of a 256x256 picture, beside the size of the file."""
    random = np.random.default_rng(1)
    inputs = {
        "x": random.standard_normal((2, 4, 32, 32), dtype=np.float32),
        "timesteps": np.array([500.0, 500.0], np.float32),
        "context": random.standard_normal((2, 77, 768), dtype=np.float32),
    }
    client.infer(client.prepare(network), inputs)
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    anonymous = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024
    size = (FOLDER / "checkpoints" / "bench-a.safetensors").stat().st_size / 2**20
    return Row("private memory after a 256x256 step", anonymous, size, "MiB", "two UNets prepared; baseline: the file")


def _timed(process: int, action: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of the model service while `action` runs."""
    begun, cpu = time.perf_counter(), _cpu_s(process)
    action()
    return time.perf_counter() - begun, _cpu_s(process) - cpu


def _cpu_s(process: int) -> float:
    """CPU seconds that a process and its ended children have used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def _model_service(stack: Stack) -> int:
    """Its process id, found among the supervisor's children."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if int(status[1]) == stack.process.pid and b"model_service.app.main" in command:
            return int(folder.name)
    raise LookupError("the model service is not running")
