"""Where model files live: ComfyUI's kinds of folders under one models root, and its `extra_model_paths.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from kit.errors import InvalidRequest, NotFound

WEIGHT_ENDINGS = frozenset({".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"})

# Kind -> its folders below the models root, in ComfyUI's order; the same order is that of GET /models.
_KINDS: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...] = (
    ("checkpoints", ("checkpoints",), WEIGHT_ENDINGS),
    ("configs", ("configs",), frozenset({".yaml"})),
    ("loras", ("loras",), WEIGHT_ENDINGS),
    ("vae", ("vae",), WEIGHT_ENDINGS),
    ("text_encoders", ("text_encoders", "clip"), WEIGHT_ENDINGS),
    ("diffusion_models", ("unet", "diffusion_models"), WEIGHT_ENDINGS),
    ("clip_vision", ("clip_vision",), WEIGHT_ENDINGS),
    ("style_models", ("style_models",), WEIGHT_ENDINGS),
    ("embeddings", ("embeddings",), WEIGHT_ENDINGS),
    # A diffusers model is a folder, which no ending describes; none is listed until somebody can load one.
    ("diffusers", ("diffusers",), frozenset({"folder"})),
    ("vae_approx", ("vae_approx",), WEIGHT_ENDINGS),
    ("controlnet", ("controlnet", "t2i_adapter"), WEIGHT_ENDINGS),
    ("gligen", ("gligen",), WEIGHT_ENDINGS),
    ("upscale_models", ("upscale_models",), WEIGHT_ENDINGS),
    # Node packs run in processes of their own; the kind exists because clients list it.
    ("custom_nodes", (), frozenset()),
    ("hypernetworks", ("hypernetworks",), WEIGHT_ENDINGS),
    ("photomaker", ("photomaker",), WEIGHT_ENDINGS),
    ("classifiers", ("classifiers",), frozenset({""})),
    ("model_patches", ("model_patches",), WEIGHT_ENDINGS),
    ("audio_encoders", ("audio_encoders",), WEIGHT_ENDINGS),
)
_OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
# Nodes that save models write here; what they wrote can be loaded at once.
_SAVED = {
    "checkpoints": "checkpoints",
    "loras": "loras",
    "vae": "vae",
    "text_encoders": "clip",
    "diffusion_models": "diffusion_models",
}


@dataclass(frozen=True)
class Folder:
    """One kind: its directories in search order (they need not exist) and the endings of its files, lower case.

    No endings at all means any file.
    """

    name: str
    directories: tuple[Path, ...]
    endings: frozenset[str]

    def holds(self, file_name: str) -> bool:
        """Whether a file of this name belongs to the kind."""
        return not self.endings or os.path.splitext(file_name)[1].lower() in self.endings  # noqa: PTH122 text only


@dataclass(frozen=True)
class Folders:
    """All kinds by name, in ComfyUI's order."""

    by_name: Mapping[str, Folder]

    def __getitem__(self, name: str) -> Folder:
        """The kind `name`; `NotFound` (FOLDER_NOT_FOUND). Old names (`clip`, `unet`) are none, as in ComfyUI."""
        folder = self.by_name.get(name)
        if folder is None:
            raise NotFound(
                "there is no such kind of models",
                reason="FOLDER_NOT_FOUND",
                folder=name[:64],
                known=", ".join(self.by_name),
            )
        return folder


def model_folders(models_root: Path, output_root: Path | None = None, extra_paths: Path | None = None) -> Folders:
    """The search paths: below `models_root`, then where nodes save models below `output_root`, then a yaml file's.

    `extra_paths` is in ComfyUI's format (`extra_model_paths.yaml`); `InvalidRequest` (EXTRA_MODEL_PATHS) says what is
    wrong with it.
    """
    root = _absolute(models_root)
    folders: dict[str, Folder] = {}
    for name, subfolders, endings in _KINDS:
        directories = [root / subfolder for subfolder in subfolders]
        if output_root is not None and name in _SAVED:
            directories.append(_absolute(output_root) / _SAVED[name])
        folders[name] = Folder(name, tuple(directories), endings)
    if extra_paths is not None:
        for name, directory, first in _extra_paths(_absolute(extra_paths)):
            folder = folders.get(name, Folder(name, (), frozenset()))
            folders[name] = replace(folder, directories=_with(folder.directories, directory, first))
    return Folders(folders)


def _absolute(path: Path) -> Path:
    # Without resolving symlinks: an operator's links are part of his layout.
    return Path(os.path.abspath(path))  # noqa: PTH100 Path.absolute keeps "..", Path.resolve follows links


def _with(directories: tuple[Path, ...], directory: Path, first: bool) -> tuple[Path, ...]:
    if not first:
        return directories if directory in directories else (*directories, directory)
    return (directory, *(other for other in directories if other != directory))


def _extra_paths(file: Path) -> Iterable[tuple[str, Path, bool]]:
    """(kind, directory, whether it goes first) for each path of the file, in its order."""
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise _bad_file(file, "the file cannot be read", cause=error.strerror) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise _bad_file(file, "the file is no YAML", cause=str(error).splitlines()[0]) from None
    if document is None:
        return
    if not isinstance(document, dict):
        raise _bad_file(file, "the file holds no sections")
    for section, content in document.items():
        if content is None:
            continue
        if not isinstance(content, dict):
            raise _bad_file(file, "a section holds no paths", section=section)
        yield from _section_paths(file, str(section), content)


def _section_paths(file: Path, section: str, content: Mapping[object, object]) -> Iterable[tuple[str, Path, bool]]:
    base = file.parent
    if content.get("base_path") is not None:
        base = base / Path(os.path.expandvars(str(content["base_path"]))).expanduser()
    first = content.get("is_default") is True
    for key, value in content.items():
        if key in ("base_path", "is_default") or value is None:
            continue
        if not isinstance(key, str) or not isinstance(value, str):
            raise _bad_file(file, "a kind's paths are no text", section=section, kind=key)
        for line in value.splitlines():
            if line.strip():
                yield _OLD_NAMES.get(key, key), _absolute(base / line.strip()), first


def _bad_file(file: Path, message: str, **facts: object) -> InvalidRequest:
    return InvalidRequest(f"extra model paths: {message}", reason="EXTRA_MODEL_PATHS", file=str(file), **facts)
