"""Model files as they should not be: damaged, foreign, hostile. Data of large tensors are holes (zeros on no disk)."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""dtype and shape by tensor name."""
_BYTES = {"F16": 2, "F32": 4, "I64": 8}


def header_of(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of a safetensors file, in file order."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in entries.items()}


def write_safetensors(path: Path, tensors: Shapes) -> Path:
    """A file with these tensors, all zeros; the data are one hole."""
    entries: dict[str, object] = {}
    place = 0
    for name, (dtype, shape) in tensors.items():
        size = _BYTES[dtype]
        for side in shape:
            size *= side
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + place)
    return path


def cut(source: Path, target: Path, size: int) -> Path:
    """The first `size` bytes of a file."""
    with source.open("rb") as file:
        target.write_bytes(file.read(size))
    return target


class _Shell:
    """Pickles as a call of os.system."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self._command,)


def hostile_pickle(marker: Path) -> bytes:
    """Unpickled by Python, it creates `marker`."""
    return pickle.dumps({"state_dict": _Shell(f"touch {marker}")}, protocol=2)


def hostile_zip(path: Path, marker: Path) -> Path:
    """A torch.save file whose pickle is hostile."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", hostile_pickle(marker))
        archive.writestr("archive/version", "3\n")
    return path


SD2 = {
    "model.diffusion_model.input_blocks.0.0.weight": ("F16", (320, 4, 3, 3)),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": ("F16", (320, 1024)),
    "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight": ("F16", (3072, 1024)),
    "cond_stage_model.model.token_embedding.weight": ("F16", (64, 1024)),
}
SDXL = {
    "model.diffusion_model.input_blocks.0.0.weight": ("F16", (320, 4, 3, 3)),
    "model.diffusion_model.label_emb.0.0.weight": ("F16", (1280, 2816)),
    "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight": ("F16", (64, 768)),
    "conditioner.embedders.1.model.token_embedding.weight": ("F16", (64, 1280)),
}
FLUX = {
    "double_blocks.0.img_attn.qkv.weight": ("F16", (96, 32)),
    "single_blocks.0.linear1.weight": ("F16", (96, 32)),
    "img_in.weight": ("F16", (32, 64)),
    "txt_in.weight": ("F16", (32, 64)),
}
LORA_OF_NOTHING = {
    "lora_unet_no_such_block.lora_up.weight": ("F16", (8, 4)),
    "lora_unet_no_such_block.lora_down.weight": ("F16", (4, 8)),
    "lora_unet_no_such_block.alpha": ("F16", ()),
}
LOHA = {
    f"lora_unet_mid_block_attentions_0_proj_in.hada_{part}": ("F16", (4, 4))
    for part in ("w1_a", "w1_b", "w2_a", "w2_b")
}
HALF_LORA = {"lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": ("F16", (4, 4))}


class Folder:
    """A models folder; what was written through it can be taken away again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._written: list[Path] = []

    def place(self, kind: str, name: str) -> Path:
        """Where a file of that kind goes."""
        path = self.root / kind / name
        path.parent.mkdir(exist_ok=True)
        self._written.append(path)
        return path

    def clear(self) -> None:
        for path in self._written:
            path.unlink(missing_ok=True)
