"""Model files for benchmarks: random weights in the real layouts, written once and kept in build/."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_service.archs.registry import arch
from tests.support.stack import REPO

FOLDER = REPO / "build" / "bench-weights"
PREFIXES = {
    "sd15_unet": "model.diffusion_model.",
    "clip_l": "cond_stage_model.transformer.",
    "kl_vae_decoder": "first_stage_model.",
    "kl_vae_encoder": "first_stage_model.",
}


def checkpoint(name: str, seed: int) -> Path:
    """A full-size SD1.5 checkpoint of random float16 weights (2.1 GB), by name under checkpoints/."""
    from safetensors.numpy import save_file

    path = FOLDER / "checkpoints" / f"{name}.safetensors"
    if path.exists():
        return path
    random = np.random.Generator(np.random.SFC64(seed))
    tensors: dict[str, np.ndarray] = {}
    for arch_id, prefix in PREFIXES.items():
        each = arch(arch_id)
        module = each.build(each.samples[0])
        for key, value in module.state_dict().items():
            tensors[prefix + key] = random_tensor(random, tuple(value.shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    save_file(tensors, part)
    part.replace(path)
    return path


def random_tensor(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Small normal values, scaled by fan-in so that activations stay finite; vectors near one."""
    if len(shape) < 2:
        return (1 + 0.02 * random.standard_normal(shape, dtype=np.float32)).astype(np.float16)
    scale = 0.5 / np.sqrt(np.prod(shape[1:]))
    return (random.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(np.float16)


def lora(name: str, seed: int, rank: int = 16) -> Path:
    """A plain LoRA of the UNet's 128 attention projections, by name under loras/."""
    from safetensors.numpy import save_file

    path = FOLDER / "loras" / f"{name}.safetensors"
    if path.exists():
        return path
    random = np.random.Generator(np.random.SFC64(seed))
    unet = arch("sd15_unet")
    tensors: dict[str, np.ndarray] = {}
    for key, value in unet.build(unet.samples[0]).state_dict().items():
        if ".attn" in key and key.endswith(".weight"):
            out, into = value.shape
            stem = "diffusion_model." + key.removesuffix(".weight")
            tensors[f"{stem}.lora_down.weight"] = random_tensor(random, (rank, into))
            tensors[f"{stem}.lora_up.weight"] = random_tensor(random, (out, rank))
            tensors[f"{stem}.alpha"] = np.array(rank, np.float16)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path
