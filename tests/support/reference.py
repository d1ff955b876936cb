"""The recordings of ComfyUI: the small set that is committed, and the wide one where it is at hand."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.stack import REPO

COMMITTED = REPO / "tests" / "golden" / "reference"
MODEL_INPUTS = ("ckpt_name", "unet_name", "clip_name", "vae_name", "lora_name")
# SD1.5 with plain LoRA: what the families of today reach. The full-width UNet takes minutes: `make parity` only.
SERVED_MODELS = frozenset(
    f"{name}.safetensors"
    for name in (
        "synth_sd15_mini",
        "synth_sd15_mini_b",
        "synth_sd15_mini_inpaint",
        "synth_vae",
        "synth_clip_l",
        "synth_lora_a",
        "synth_lora_b",
        "synth_lora_ldmkeys",
    )
)
LONG_MODELS = frozenset({"synth_sd15.safetensors"})
EMBEDDINGS = ("synth_ti_a", "synth_ti_b")


def folder() -> Path:
    """The wide set where it is at hand, else the committed one."""
    named = os.environ.get("HELIOGRAPH_REFERENCE")
    wide = Path(named) if named else REPO.parent / "shared" / "reference"
    return wide if (wide / "cases").is_dir() else COMMITTED


def checker(source: Path) -> ModuleType:
    """check_cases.py of a set, as a module."""
    spec = importlib.util.spec_from_file_location("check_cases", source / "check_cases.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def reached_cases(
    source: Path, node_types: frozenset[str], *, long: bool = False
) -> Iterator[tuple[str, frozenset[str]]]:
    """(name, model files) of every case whose nodes and model families we have."""
    allowed = SERVED_MODELS | (LONG_MODELS if long else frozenset())
    for case in sorted((source / "cases").iterdir()):
        graph: dict[str, Any] = json.loads((case / "workflow.json").read_text("utf-8"))
        types = {node["class_type"] for node in graph.values()}
        models = frozenset(
            str(node["inputs"][key]) for node in graph.values() for key in MODEL_INPUTS if key in node["inputs"]
        )
        if types <= node_types and models <= allowed and not (case / "setup.json").exists():
            yield case.name, models


def node_types() -> frozenset[str]:
    """Classes of our built-in nodes."""
    catalogue = json.loads((REPO / "orchestrator" / "graph" / "builtin_nodes.json").read_text("utf-8"))
    return frozenset(node["id"] for node in catalogue["nodes"])


def write_weights(source: Path, names: frozenset[str], target: Path) -> Path:
    """Write the synthetic model files that are not there yet; returns the models folder."""
    stems = sorted(Path(name).stem for name in names) + list(EMBEDDINGS)
    command = (sys.executable, str(source / "synth_weights.py"), "--out", str(target), *stems)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target
