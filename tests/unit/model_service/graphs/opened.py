"""From tensors to an opened model in one call."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from model_service.archs.registry import arch, detect
from model_service.archs.spec import Component
from model_service.graphs.bind import BoundModel, bind
from model_service.runtime.engine import LoadedModel, OrtEngine
from model_service.runtime.recipe import recipe_for
from model_service.weights.header import Header, TensorEntry
from tests.unit.model_service.archs import tiny

Overlay = Mapping[str, tuple[str, np.ndarray]]


def component(header: Header, arch_id: str) -> Component:
    (found,) = (one for one in detect(header) if one.arch.id == arch_id)
    return found


def bound(header: Header, arch_id: str, overlay: Overlay | None = None, portable: bool = False) -> BoundModel:
    entries = {
        name: TensorEntry(name, dtype, values.shape, 0, values.nbytes)
        for name, (dtype, values) in (overlay or {}).items()
    }
    unused = arch(arch_id).unused
    return bind(tiny.graph(arch_id, portable), component(header, arch_id).part, unused, entries)


def opened(
    header: Header, arch_id: str, folder: Path, overlay: Overlay | None = None, portable: bool = False
) -> LoadedModel:
    """The small network's graph on the weights of `header`."""
    model = bound(header, arch_id, overlay, portable)
    path = folder / f"{arch_id}.onnx"
    path.write_bytes(model.model)
    return OrtEngine().open(recipe_for(model, path, threads=1), overlay)
