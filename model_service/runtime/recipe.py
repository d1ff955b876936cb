"""From a bound model on disk to the recipe that opens it."""

from __future__ import annotations

from pathlib import Path

from model_service.graphs.bind import BoundModel
from model_service.runtime.session import SessionRecipe


def recipe_for(
    bound: BoundModel, model_path: Path, threads: int = 0, overlay_path: Path | None = None
) -> SessionRecipe:
    """Recipe for `bound`, whose `model` bytes the caller has written to `model_path`.

    `overlay_path` must hold the tensors that the model was bound with as overlay; `threads`: 0 = all cores.
    """
    return SessionRecipe(
        model_path=str(model_path),
        weights_folder=bound.folder,
        weights_location=bound.location,
        overlay_path=None if overlay_path is None else str(overlay_path),
        copied=tuple((one.name, one.dtype, one.shape, one.offset) for one in bound.copied),
        threads=threads,
        mapped_bytes=bound.mapped_bytes,
    )
