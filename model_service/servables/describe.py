"""What a model file is, from its header: kind, family, precision and components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kit.errors import InvalidModel, Unsupported
from model_service.archs.registry import detect
from model_service.archs.spec import Component
from model_service.catalogue.catalogue import Catalogue
from model_service.weights.header import Header

_BY_FOLDER = {"loras": "lora", "embeddings": "embedding"}
_NETWORKS = frozenset({"checkpoints", "diffusion_models", "text_encoders", "vae"})
_SINGLE = {"unet": "unet", "text_encoder": "text_encoder", "vae_decoder": "vae", "vae_encoder": "vae"}
# A stored type counts for the precision if it holds at least this share of the weights.
_SHARE = 0.05


@dataclass(frozen=True)
class Listed:
    """A file of a folder. Times in Unix seconds, `path_index` into the folder's search paths."""

    folder: str
    name: str
    size_bytes: int
    modified_s: float
    created_s: float
    path_index: int


@dataclass(frozen=True)
class Described:
    """`kind`: checkpoint, unet, text_encoder, vae, lora, embedding or unknown. `digest` empty: not asked for."""

    listed: Listed
    digest: str
    kind: str
    family: str
    precision: str
    components: tuple[Component, ...]
    metadata: Mapping[str, str]


def list_folder(catalogue: Catalogue, folder: str) -> tuple[Listed, ...]:
    """Files of a folder with size and times; raises NotFound (FOLDER_NOT_FOUND)."""
    found = []
    for name in catalogue.list(folder):
        try:
            found.append(_listed(catalogue, folder, name, catalogue.resolve(folder, name)))
        except OSError:
            continue  # removed since the listing
    return tuple(found)


def describe(catalogue: Catalogue, folder: str, name: str, with_digest: bool) -> Described:
    """Header facts of a file.

    Raises NotFound; InvalidModel, Unsupported (ARCH_UNKNOWN, with what it looks like) for a file in a folder of
    networks that none of ours is in. Without digest it is only looked at: such a file is "unknown" then.
    """
    path = catalogue.resolve(folder, name)
    header = catalogue.header_at(path)
    kind, components = _kind_of(folder, header, must_be_served=with_digest)
    families = [str(component.facts["family"]) for component in components if "family" in component.facts]
    return Described(
        _listed(catalogue, folder, name, path),
        catalogue.digest_at(path) if with_digest else "",
        kind,
        families[0] if families else "",
        _precision(header),
        components,
        header.metadata,
    )


def _kind_of(folder: str, header: Header, must_be_served: bool) -> tuple[str, tuple[Component, ...]]:
    if folder in _BY_FOLDER:
        return _BY_FOLDER[folder], ()
    try:
        components = detect(header)
    except (Unsupported, InvalidModel):
        if must_be_served and folder in _NETWORKS:
            raise
        return "unknown", ()
    kinds = {_SINGLE[component.kind] for component in components}
    return (kinds.pop() if len(kinds) == 1 else "checkpoint"), components


def _precision(header: Header) -> str:
    """Stored types that make up the file, the largest share first, e.g. "F16" or "F16+F32"."""
    sizes: Counter[str] = Counter()
    for entry in header.tensors.values():
        sizes[entry.dtype] += entry.nbytes
    total = sizes.total()
    return "+".join(dtype for dtype, size in sizes.most_common() if size >= _SHARE * total)


def _listed(catalogue: Catalogue, folder: str, name: str, path: Path) -> Listed:
    status = path.stat()
    directories = catalogue.directories(folder)
    index = next((number for number, directory in enumerate(directories) if directory in path.parents), 0)
    return Listed(folder, name, status.st_size, status.st_mtime, status.st_ctime, index)
