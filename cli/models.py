"""`heliograph models`: the model files found, with what their headers say. Needs no running service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from kit.errors import HeliographError
from model_service.archs.registry import detect
from model_service.catalogue.catalogue import Catalogue
from model_service.catalogue.folders import model_folders
from model_service.catalogue.identity import Identities
from model_service.weights.header import Header

# Other kinds hold no weights.
FOLDERS = ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "embeddings")


WIDE = 200  # a pipe or a file must not fold names


def open_catalogue() -> Catalogue:
    """The catalogue that the model service would have with the same environment."""
    root = Path(os.environ.get("HELIOGRAPH_MODELS_DIR", "models"))
    data = Path(os.environ.get("HELIOGRAPH_DATA_DIR", "data"))
    extra = os.environ.get("HELIOGRAPH_EXTRA_MODEL_PATHS", "")
    folders = model_folders(root, output_root=data / "output", extra_paths=Path(extra) if extra else None)
    return Catalogue(folders, Identities(data / "cache"))


def list_models(folder: str | None) -> int:
    """Print one line per file; returns 0."""
    catalogue = open_catalogue()
    table = Table(box=None)
    for column in ("folder", "name", "family", "precision", "size"):
        table.add_column(column, justify="right" if column == "size" else "left", overflow="fold")
    for kind in (folder,) if folder else FOLDERS:
        for name in catalogue.list(kind):
            table.add_row(kind, name, *_facts(catalogue, kind, name))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    if table.row_count:
        console.print(table)
    else:
        root = os.environ.get("HELIOGRAPH_MODELS_DIR", "models")
        console.print(f"no model files found; put them under {root}/ in ComfyUI's folders")
    return 0


def _facts(catalogue: Catalogue, kind: str, name: str) -> tuple[str, str, str]:
    """Family, precision and size; what cannot be read says why."""
    size = f"{catalogue.resolve(kind, name).stat().st_size / 2**20:,.1f} MiB"
    try:
        header = catalogue.header(kind, name)
    except HeliographError as error:
        return f"unreadable: {error.message}", "", size
    return _family(kind, header), _precision(header), size


def _family(kind: str, header: Header) -> str:
    if kind in ("loras", "embeddings"):
        return kind.rstrip("s")
    try:
        components = detect(header)
    except HeliographError as error:
        return error.facts.get("family", "") or "unknown"
    # The denoiser names the family; its encoder and autoencoder are shared by several.
    telling = [each for each in components if each.kind == "unet"] or list(components)
    return ", ".join(dict.fromkeys(str(each.facts.get("family", each.arch.id)) for each in telling))


def _precision(header: Header) -> str:
    """Stored types by bytes, most first."""
    sizes: dict[str, int] = {}
    for entry in header.tensors.values():
        sizes[entry.dtype] = sizes.get(entry.dtype, 0) + entry.nbytes
    return " ".join(sorted(sizes, key=lambda dtype: -sizes[dtype])[:2])
