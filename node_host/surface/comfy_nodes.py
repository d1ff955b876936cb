"""nodes: names of all classes, and the few that packs build on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from node_host.surface import folder_paths, running
from node_host.surface.missing import missing_class

MAX_RESOLUTION = 16384
NODE_CLASS_MAPPINGS: dict[str, Any] = {}
NODE_DISPLAY_NAME_MAPPINGS: dict[str, str] = {}
EXTENSION_WEB_DIRS: dict[str, str] = {}
LOADED_MODULE_DIRS: dict[str, str] = {}


def configure(class_types: Iterable[str]) -> None:
    """The engine's own classes, of which packs get the names."""
    for name in class_types:
        NODE_CLASS_MAPPINGS.setdefault(name, globals().get(name) or missing_class(f"nodes.{name}"))


def interrupt_processing(value: bool = True) -> None:
    """Cancels the running node."""
    entry = running.current()
    if value and entry is not None:
        entry.call.cancel()


def before_node_execution() -> None:
    """Raises InterruptProcessingException once the run is cancelled."""
    running.check_interrupted()


class SaveImage:
    """Writes PNG files; packs derive from it."""

    type = "output"
    prefix_append = ""
    compress_level = 4

    def __init__(self) -> None:
        self.output_dir = folder_paths.get_output_directory()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """As ComfyUI declares it."""
        return {
            "required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }

    RETURN_TYPES: tuple[Any, ...] = ()
    FUNCTION = "save_images"
    OUTPUT_NODE = True
    CATEGORY = "image"

    def save_images(
        self, images: Any, filename_prefix: str = "ComfyUI", prompt: Any = None, extra_pnginfo: Any = None
    ) -> dict[str, Any]:
        """One file per picture, with the workflow in it."""
        height, width = images[0].shape[:2]
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix + self.prefix_append, self.output_dir, width, height
        )
        saved = []
        for index, image in enumerate(images):
            file = f"{name.replace('%batch_num%', str(index))}_{number + index:05}_.png"
            pixels = np.clip(255.0 * image.cpu().numpy(), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(
                Path(folder) / file, pnginfo=_metadata(prompt, extra_pnginfo), compress_level=self.compress_level
            )
            saved.append({"filename": file, "subfolder": subfolder, "type": self.type})
        return {"ui": {"images": saved}}


class PreviewImage(SaveImage):
    """Writes into the temp area."""

    type = "temp"
    prefix_append = "_temp_pack"
    compress_level = 1

    def __init__(self) -> None:
        self.output_dir = folder_paths.get_temp_directory()

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        """As ComfyUI declares it."""
        return {
            "required": {"images": ("IMAGE",)},
            "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
        }


def _metadata(prompt: Any, extra: Any) -> PngInfo:
    info = PngInfo()
    if prompt is not None:
        info.add_text("prompt", json.dumps(prompt))
    for name, value in (extra or {}).items():
        info.add_text(name, json.dumps(value))
    return info
