"""`heliograph doctor`: what is missing or misconfigured here, each with what to do about it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from kit import starter
from kit.errors import HeliographError, NotFound
from model_service.catalogue.catalogue import Catalogue

MIN_FREE_BYTES = 2 << 30
PACKAGES = ("grpcio", "protobuf", "tritonclient", "torch", "onnxruntime", "safetensors", "fastapi", "opentelemetry-sdk")


@dataclass(frozen=True)
class Finding:
    """One checked thing. `level` is "ok", "warn" or "bad"."""

    level: str
    what: str
    advice: str = ""


def diagnose() -> int:
    """Print every finding; returns 1 if something is bad."""
    console = Console()
    worst = 0
    for check in (python, packages, folders, models, node_packs, shared_memory, ports, triton):
        for finding in check():
            sign = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "bad": "[red]bad [/]"}[finding.level]
            console.print(f"{sign} {finding.what}", highlight=False)
            if finding.advice:
                console.print(f"       {finding.advice}", highlight=False, markup=False)
            worst = max(worst, finding.level == "bad")
    return worst


def python() -> Iterator[Finding]:
    """The interpreter's version (an older one than 3.11 does not get this far: the package refuses to install)."""
    yield Finding("ok", f"Python {platform.python_version()}")


def packages() -> Iterator[Finding]:
    """The packages without which nothing works."""
    for name in PACKAGES:
        try:
            yield Finding("ok", f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            yield Finding("bad", f"{name} is not installed", "run `make install`")


def folders() -> Iterator[Finding]:
    """The data folder: writable, with room."""
    data = Path(os.environ.get("HELIOGRAPH_DATA_DIR", "data")).resolve()
    parent = next(path for path in (data, *data.parents) if path.exists())
    if not os.access(parent, os.W_OK):
        yield Finding("bad", f"{data} is not writable", "set HELIOGRAPH_DATA_DIR to a folder that is")
        return
    free = shutil.disk_usage(parent).free
    level = "ok" if free > MIN_FREE_BYTES else "warn"
    advice = "" if level == "ok" else "pictures and prepared models need room"
    yield Finding(level, f"data in {data}, {free >> 30} GiB free", advice)


def models() -> Iterator[Finding]:
    """The search paths and whether any checkpoint is there."""
    from cli.models import open_catalogue

    catalogue = open_catalogue()
    yield from _starter(catalogue)
    checkpoints = catalogue.list("checkpoints")
    if checkpoints:
        yield Finding("ok", f"{len(checkpoints)} checkpoint(s) found")
    else:
        root = os.environ.get("HELIOGRAPH_MODELS_DIR", "models")
        yield Finding("warn", "no checkpoint found", f"put an SD1.5 .safetensors file into {root}/checkpoints")


def _starter(catalogue: Catalogue) -> Iterator[Finding]:
    """The models that come with Heliograph: there and undamaged."""
    for file in starter.FILES:
        folder, _, name = file.partition("/")
        try:
            catalogue.digest(folder, name)
        except NotFound:
            yield Finding("warn", f"{file} is missing", starter.ADVICE)
        except HeliographError as problem:
            yield Finding("bad", f"{file} is damaged", problem.message)


def node_packs() -> Iterator[Finding]:
    """Node packs that `heliograph up` would serve; whether they can be loaded only `heliograph nodes check` says."""
    from cli.up import UpSettings
    from node_host.packs.find import find_packs

    for path in UpSettings.load().paths:
        try:
            names = ", ".join(pack.name for pack in find_packs([path]))
        except HeliographError as problem:
            yield Finding("bad", f"node packs: {path}", problem.message)
            continue
        yield Finding("ok", f"node packs: {names}", f"`heliograph nodes check {path}` says what they have")


def shared_memory() -> Iterator[Finding]:
    """Room in /dev/shm, through which tensors pass between our processes."""
    path = Path("/dev/shm")
    if not path.is_dir():
        yield Finding("warn", "no /dev/shm", "tensors go over gRPC; set HELIOGRAPH_SHARED_MEMORY=off")
        return
    free = shutil.disk_usage(path).free
    if free < 256 << 20:
        yield Finding("warn", f"/dev/shm has {free >> 20} MiB free", "give the container more (--shm-size=1g)")
    else:
        yield Finding("ok", f"/dev/shm has {free >> 20} MiB free")


def ports() -> Iterator[Finding]:
    """Who answers where: a running service, a stranger, or nobody."""
    yield from _port("REST", os.environ.get("HELIOGRAPH_REST_PORT", "8188"), _is_rest)
    yield from _port("gRPC", os.environ.get("HELIOGRAPH_FRONT_ADDRESS", "127.0.0.1:8189"), _is_grpc)
    yield from _port("model service", os.environ.get("HELIOGRAPH_MODEL_ADDRESS", "127.0.0.1:8190"), _is_grpc)


def _port(name: str, address: str, is_ours: Callable[[str, int], bool]) -> Iterator[Finding]:
    host, _, port = address.rpartition(":")
    host = host or "127.0.0.1"
    with socket.socket() as probe:
        probe.settimeout(1.0)
        if probe.connect_ex((host, int(port))) != 0:
            yield Finding("ok", f"{name}: {host}:{port} is free (nothing runs there)")
            return
    if is_ours(host, int(port)):
        yield Finding("ok", f"{name}: answers on {host}:{port}")
    else:
        yield Finding("bad", f"{name}: something else listens on {host}:{port}", "stop it, or choose another port")


def _is_rest(host: str, port: int) -> bool:
    import json
    import urllib.request

    try:
        with urllib.request.urlopen(f"http://{host}:{port}/queue", timeout=3) as answer:
            return "queue_pending" in json.load(answer)
    except (OSError, ValueError):
        return False


def _is_grpc(host: str, port: int) -> bool:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(f"{host}:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=3)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def triton() -> Iterator[Finding]:
    """Whether the CPU Triton is installed; only a matter if it shall serve."""
    wanted = os.environ.get("HELIOGRAPH_SERVING", "embedded") == "triton"
    if Path(".venv-triton").is_dir():
        yield Finding("ok", "Triton (CPU) is installed in .venv-triton")
    elif wanted:
        yield Finding("bad", "serving=triton, but there is no Triton here", "run `make triton-install`")
    else:
        yield Finding("ok", "Triton is not installed (the embedded engine serves)")
