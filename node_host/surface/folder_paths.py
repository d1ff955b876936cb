"""folder_paths: where files are. `configure` is called once, before any pack is loaded."""

from __future__ import annotations

import mimetypes
import os
import time
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from node_host.surface.missing import NotGiven

supported_pt_extensions: set[str] = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
base_path = models_dir = output_directory = input_directory = temp_directory = user_directory = ""
filename_list_cache: dict[str, Any] = {}
extension_mimetypes_cache: dict[str, str] = {"webp": "image", "fbx": "model"}
_OLD_NAMES = {"unet": "diffusion_models", "clip": "text_encoders"}
_AREAS = ("output", "input", "temp")
_MAX_FILES = 100_000


def configure(data: Path, models: Path, kinds: Mapping[str, tuple[Iterable[str], Iterable[str]]]) -> None:
    """`kinds`: folders and endings by kind of model; packs may add some."""
    global base_path, models_dir, output_directory, input_directory, temp_directory, user_directory
    data, models = data.resolve(), models.resolve()
    base_path, models_dir = str(models.parent), str(models)
    output_directory, input_directory, temp_directory = (str(data / area) for area in _AREAS)
    user_directory = str(data / "user")
    folder_names_and_paths.clear()
    for name, (folders, endings) in kinds.items():
        folder_names_and_paths[name] = (list(folders), set(endings))


def map_legacy(folder_name: str) -> str:
    """Today's name of a kind."""
    return _OLD_NAMES.get(folder_name, folder_name)


def get_output_directory() -> str:
    """Where results go."""
    return output_directory


def get_input_directory() -> str:
    """Where uploads are."""
    return input_directory


def get_temp_directory() -> str:
    """Where previews go."""
    return temp_directory


def get_user_directory() -> str:
    """Where users' files are."""
    return user_directory


def set_output_directory(output_dir: str) -> None:
    """Refused: the engine's areas are what they are."""
    raise NotGiven("folder_paths.set_output_directory", "the data folder is a setting of the service")


set_input_directory = set_temp_directory = set_user_directory = set_output_directory


def get_directory_by_type(type_name: str) -> str | None:
    """Of "output", "input" or "temp"."""
    return dict(zip(_AREAS, (output_directory, input_directory, temp_directory))).get(type_name)


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """("a.png", its area's folder) of "a.png [output]"."""
    for area in _AREAS:
        if name.endswith(f"[{area}]"):
            return name[: -len(area) - 2].rstrip(" "), get_directory_by_type(area)
    return name, None


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """Full path, inside its area. Raises ValueError for a name that leads out of it."""
    found, folder = annotated_filepath(name)
    return _inside(folder or default_dir or input_directory, found)


def exists_annotated_filepath(name: str) -> bool:
    """Whether there is such a file."""
    try:
        return os.path.exists(get_annotated_filepath(name))
    except ValueError:
        return False


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """One more folder for this kind of models; `is_default`: before the others."""
    name, path = map_legacy(folder_name), str(full_folder_path)
    folders, _ = folder_names_and_paths.setdefault(name, ([], set()))
    if path in folders:
        folders.remove(path)
    folders.insert(0 if is_default else len(folders), path)


def get_folder_paths(folder_name: str) -> list[str]:
    """Of a kind. Raises KeyError."""
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def recursive_search(
    directory: str, excluded_dir_names: Collection[str] | None = None
) -> tuple[list[str], dict[str, float]]:
    """(files below, by relative name; folders with their times)."""
    files: list[str] = []
    folders: dict[str, float] = {}
    excluded = set(excluded_dir_names or ())
    for root, names, found in os.walk(directory, followlinks=True, topdown=True):
        names[:] = [name for name in names if name not in excluded]
        folders[root] = os.path.getmtime(root)
        files += [os.path.relpath(os.path.join(root, name), directory) for name in found]
        if len(files) > _MAX_FILES:
            break
    return files, folders


def filter_files_extensions(files: Iterable[str], extensions: Collection[str]) -> list[str]:
    """Those with one of the endings (none: all), sorted."""
    return sorted(f for f in files if not extensions or os.path.splitext(f)[-1].lower() in extensions)


def filter_files_content_types(files: Iterable[str], content_types: Collection[str]) -> list[str]:
    """Those whose ending stands for "image", "video", "audio" or "model"."""
    return [name for name in files if _content_type(name) in content_types]


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The first file of that name among the kind's folders; None: none."""
    entry = folder_names_and_paths.get(map_legacy(folder_name))
    for folder in entry[0] if entry else ():
        try:
            path = _inside(folder, filename)
        except ValueError:
            return None
        if os.path.isfile(path):
            return path
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """Raises FileNotFoundError."""
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"no file {filename!r} among the models of kind {folder_name!r}")
    return path


def get_filename_list(folder_name: str) -> list[str]:
    """Relative names of a kind's files, sorted. Raises KeyError."""
    folders, endings = folder_names_and_paths[map_legacy(folder_name)]
    found: set[str] = set()
    for folder in folders:
        found.update(filter_files_extensions(recursive_search(folder, [".git"])[0], endings))
    return sorted(found)


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """(folder, file name, number of the next file, folder below output_dir, prefix); makes the folder."""
    prefix = _filled(filename_prefix, image_width, image_height)
    subfolder, filename = os.path.split(os.path.normpath(prefix))
    folder = _inside(output_dir, subfolder)
    os.makedirs(folder, exist_ok=True)
    taken = [_number(name, filename) for name in os.listdir(folder)]
    return folder, filename, max(taken, default=0) + 1, subfolder, prefix


def get_input_subfolders() -> list[str]:
    """Folders below the input area."""
    return sorted(os.path.relpath(path, input_directory) for path, _, _ in os.walk(input_directory))[1:]


def _filled(prefix: str, width: int, height: int) -> str:
    now = time.localtime()
    known = {
        "width": str(width), "height": str(height), "year": str(now.tm_year), "month": f"{now.tm_mon:02}",
        "day": f"{now.tm_mday:02}", "hour": f"{now.tm_hour:02}", "minute": f"{now.tm_min:02}",
        "second": f"{now.tm_sec:02}",
    }  # fmt: skip
    for name, text in known.items():
        prefix = prefix.replace(f"%{name}%", text)
    return prefix


def _number(name: str, filename: str) -> int:
    """Of "FILENAME_00012_.png"; 0: another file."""
    if not name.startswith(f"{filename}_"):
        return 0
    digits = name[len(filename) + 1 :].split("_")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else 0


def _inside(folder: str, name: str) -> str:
    root = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(root, name))
    if path != root and os.path.commonpath((root, path)) != root:
        raise ValueError(f"the name {name!r} leads outside its folder")
    return path


def _content_type(name: str) -> str:
    ending = name.rpartition(".")[2].lower()
    if ending not in extension_mimetypes_cache:
        extension_mimetypes_cache[ending] = (mimetypes.guess_type(f"x.{ending}", strict=False)[0] or "").split("/")[0]
    return extension_mimetypes_cache[ending]
