"""A process that serves the packs of tests/support/packs, and what it needs around it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cli.nodes import host_command
from tests.support.providers import ROOT

PACKS = ROOT / "tests" / "support" / "packs"


@contextmanager
def pack_host(port: int, data: Path, models: Path, *packs: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Serves `packs` (all of ours, if none is named); killed at the end."""
    environment = {"HELIOGRAPH_DATA_DIR": str(data), "HELIOGRAPH_MODELS_DIR": str(models)}
    with changed(environment):
        command = host_command(packs or [PACKS], f"127.0.0.1:{port}")
    process = subprocess.Popen(command, cwd=data, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def changed(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment with these, until the block ends."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def place_text(data: Path, models: Path) -> str:
    """The host's second argument, without model folders but loras."""
    return json.dumps(
        {"data": str(data), "models": str(models), "class_types": ["KSampler"],
         "kinds": {"loras": [[str(models / "loras")], [".safetensors"]]}}
    )  # fmt: skip
