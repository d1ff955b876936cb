"""Specs read back from the recorded /object_info: node classes for tests that need no node code."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.graph.catalogue import Catalogue
from orchestrator.graph.kinds import Bool, Float, InputFile, Int, Kind, Link, OneOf, Text
from orchestrator.graph.spec import HiddenInput, Input, NodeSpec, Output

COMMITTED = Path(__file__).resolve().parents[1] / "golden" / "object_info" / "recorded.json"
FILE_INPUTS = {"LoadImage": "image", "LoadImageMask": "image", "LoadLatent": "latent", "LoadAudio": "audio"}
FOLDERS = {"ckpt_name": "checkpoints", "vae_name": "vae", "unet_name": "diffusion_models", "lora_name": "loras"}
NUMBERS = {"control_after_generate": "control_after_generate", "forceInput": "force_input"}


class FixedLists:
    """`Lists` with given names."""

    def __init__(self, models: dict[str, tuple[str, ...]] | None = None, files: tuple[str, ...] = ()) -> None:
        self.models = models or {}
        self.files = files

    def model_files(self, folder: str) -> tuple[str, ...]:
        return self.models.get(folder, ())

    def input_files(self, content: str) -> tuple[str, ...]:
        return self.files

    def input_exists(self, annotated_name: str) -> bool:
        return annotated_name in self.files


def spec_of(info: dict[str, Any]) -> NodeSpec:
    """The spec whose object_info is `info`."""
    v3 = "api_node" in info
    section = info["input"]
    inputs = [Input(n, _kind(info["name"], n, c, v3), True) for n, c in section.get("required", {}).items()]
    inputs += [Input(n, _kind(info["name"], n, c, v3), False) for n, c in section.get("optional", {}).items()]
    hidden = [HiddenInput(n, c[0] if isinstance(c, list) else c) for n, c in section.get("hidden", {}).items()]
    slots = zip(info["output"], info["output_name"], info["output_is_list"], strict=True)
    return NodeSpec(
        id=info["name"], category=info["category"], inputs=tuple(inputs), hidden=tuple(hidden),
        outputs=tuple(Output(*slot) for slot in slots), display_name=info["display_name"],
        python_module=info["python_module"], output_node=info["output_node"], v3=v3,
        deprecated=info.get("deprecated", False), experimental=info.get("experimental", False),
    )  # fmt: skip


def _kind(class_type: str, name: str, config: list[Any], v3: bool) -> Kind:
    wire, options = config[0], dict(config[1]) if len(config) > 1 else None
    if wire in ("INT", "FLOAT"):
        made = {NUMBERS.get(key, key): value for key, value in (options or {}).items()}
        return Int(**made) if wire == "INT" else Float(**made)
    if wire == "STRING" and options is not None:
        known = {"dynamicPrompts": "dynamic_prompts", "forceInput": "force_input"}
        return Text(**{known.get(key, key): value for key, value in options.items()})
    if wire == "BOOLEAN":
        return Bool(**(options or {}))
    if isinstance(wire, list) or (v3 and wire == "COMBO"):
        return _combo(class_type, name, wire, options, v3)
    default = options.pop("default", None) if options else None
    return Link(wire, default=default, options=options)


def _combo(class_type: str, name: str, wire: Any, options: dict[str, Any] | None, v3: bool) -> Kind:
    if class_type in FILE_INPUTS and name in ("image", "latent", "audio"):
        return InputFile(FILE_INPUTS[class_type], upload=next(iter(options or {}), None))
    default = options.pop("default", None) if options else None
    if v3 and options is not None:
        values = tuple(options.pop("options"))
        options.pop("multiselect")
    else:
        values = tuple(wire)
    if FOLDERS.get(name) and not v3:
        return OneOf.catalogue(FOLDERS[name], values, options)
    return OneOf(values, default=default, options=options)


@cache
def recorded() -> dict[str, Any]:
    """{class: object_info entry}, the committed part of the recording."""
    entries: dict[str, Any] = json.loads(COMMITTED.read_text())
    return entries


@cache
def recorded_catalogue() -> Catalogue:
    """Specs of all committed entries."""
    return Catalogue.of(spec_of(info) for info in recorded().values())
