"""`python -m training.adapters_evaluated --models models`: does each small model beside the checkpoint do its work?"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn

from kit.starter import CHECKPOINT, CONTROLNET, EMBEDDING, LORA, TAESD_DECODER, TAESD_ENCODER, UPSCALER
from training.controlnet import controlled, copied_from, edges, hints
from training.crops import as_pixels, as_tensor
from training.draw import Pixels, render
from training.inversion import PLACEHOLDER
from training.judge import read
from training.lora import Lora, patched
from training.run import THREADS
from training.scenes import COLOURS, NEW_SHAPE, SHAPES, training_scene
from training.shown import Checkpoint, Settings, contact_sheet
from training.taesd import decoder, encoder
from training.upscaler import new_upscaler

_FIRST = 900_000  # pictures that no stage trains on
_SETTINGS = Settings()


def psnr(shown: Tensor, true: Tensor) -> float:
    """Mean over pictures, in dB; both in 0..1."""
    return round(float((-10 * (shown.clamp(0, 1) - true).square().mean((1, 2, 3)).log10()).mean()), 2)


def blue_paper(picture: Pixels) -> bool:
    """Whether the picture is a blueprint: mostly dark blue, with some white on it."""
    pixels = picture.reshape(-1, 3).astype(int)
    paper = (np.abs(pixels - (24, 62, 130)).max(-1) < 40).mean()
    line = (pixels.min(-1) > 170).mean()
    return bool(paper > 0.6 and line > 0.01)


def lora(checkpoint: Checkpoint, file: Path, keep: dict[str, list[Pixels]]) -> dict[str, float]:
    """Shares of blueprints with the trigger, and without it, both with the LoRA at strength 1."""
    low_rank = Lora.new(checkpoint)
    weights = load_file(file)
    for name, value in low_rank.file_tensors().items():
        if not name.endswith("alpha"):
            value.data.copy_(weights[name])
    prompts = [f"a {colour} {SHAPES[k % len(SHAPES)]}" for k, colour in enumerate(COLOURS)]
    nets = {
        name: _with(net, patched(net, pairs))
        for name, net, pairs in (("unet", checkpoint.unet, low_rank.unet), ("text", checkpoint.text, low_rank.text))
    }
    styled = Checkpoint(nets["text"], nets["unet"], checkpoint.vae, checkpoint.layers)
    seeds = list(range(40, 40 + len(prompts)))
    keep["lora"] = styled.pictures([f"blueprint of {prompt}" for prompt in prompts], seeds)
    keep["lora-plain"] = styled.pictures(prompts, seeds)
    return {
        "blueprints_with_trigger": float(np.mean([blue_paper(picture) for picture in keep["lora"]])),
        "blueprints_without": float(np.mean([blue_paper(picture) for picture in keep["lora-plain"]])),
    }


def _with(net: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """The same network with some weights exchanged."""
    changed = copy.deepcopy(net)
    changed.load_state_dict({name: value.detach() for name, value in weights.items()}, strict=False)
    return changed


def inversion(checkpoint: Checkpoint, file: Path, keep: dict[str, list[Pixels]]) -> dict[str, float]:
    """Share of pictures whose largest thing is a crescent of the colour asked for."""
    vectors = load_file(file)["emb_params"]
    prompts = [f"a {colour} {PLACEHOLDER}" for colour in COLOURS * 2]
    keep["inversion"] = checkpoint.pictures(prompts, list(range(60, 76)), pseudo={PLACEHOLDER: vectors})
    seen = [read(picture).things for picture in keep["inversion"]]
    shapes = [bool(things) and things[0].shape == NEW_SHAPE for things in seen]
    looks = [shape and things[0].colour == colour for shape, things, colour in zip(shapes, seen, COLOURS * 2)]
    return {"crescents": float(np.mean(shapes)), "of_the_colour": float(np.mean(looks))}


def pixel_networks(checkpoint: Checkpoint, models: Path, keep: dict[str, list[Pixels]]) -> dict[str, float]:
    """Autoencoder, TAESD and upscaler on 24 drawn pictures, in dB."""
    images = as_tensor([render(training_scene(_FIRST + number), 128) for number in range(24)])
    shown = images / 2 + 0.5
    small = F.interpolate(shown, scale_factor=0.5, mode="bicubic", antialias=True).clamp(0, 1)
    nets = {TAESD_ENCODER: encoder(), TAESD_DECODER: decoder(), UPSCALER: new_upscaler()}
    for name, net in nets.items():
        net.load_state_dict({key: value.float() for key, value in load_file(models / name).items()})
    with torch.no_grad():
        latents = torch.cat([checkpoint.vae.encode(part) for part in torch.split(images, 6)])
        back = torch.cat([checkpoint.vae.decode(part) for part in torch.split(latents, 6)]) / 2 + 0.5
        preview, enlarged = nets[TAESD_DECODER](latents), nets[UPSCALER](small)
        error = (nets[TAESD_ENCODER](shown) - latents).square().mean().sqrt()
    bicubic = F.interpolate(small, scale_factor=2.0, mode="bicubic")
    for name, result in (("autoencoder", back), ("taesd", preview), ("upscaler", enlarged)):
        keep[name] = as_pixels(result[:8] * 2 - 1)
    return {
        "autoencoder_db": psnr(back, shown),
        "taesd_decoder_db": psnr(preview, shown),
        "taesd_encoder_rmse": round(float(error), 3),
        "upscaler_db": psnr(enlarged, shown),
        "bicubic_db": psnr(bicubic, shown),
    }


def controlnet(checkpoint: Checkpoint, file: Path, keep: dict[str, list[Pixels]]) -> dict[str, float]:
    """Share of the wanted edges found within two pixels in the picture, with and without the ControlNet."""
    net = copied_from(checkpoint.unet)
    weights = load_file(file)
    net.load_state_dict({name.removeprefix("control_model."): value.float() for name, value in weights.items()})
    rng = random.Random("control")
    scenes = [s for s in map(training_scene, range(_FIRST, _FIRST + 60)) if not (s.landscape or s.ground.pattern)][:16]
    wanted = [render(scene, 128) for scene in scenes]
    prompts, seeds = [f"{scene.things[0].colour} shape" for scene in scenes], [rng.randrange(999) for _ in scenes]
    hint = hints(wanted)

    class Guided(nn.Module):
        def forward(self, x: Tensor, timesteps: Tensor, context: Tensor) -> Tensor:
            own = hint.repeat(len(x) // len(hint), 1, 1, 1)
            return controlled(checkpoint.unet, x, timesteps, context, net(x, timesteps, context, own))

    with torch.no_grad():
        keep["controlnet"] = checkpoint.pictures(prompts, seeds, unet=Guided())
    free = checkpoint.pictures(prompts, seeds)
    keep["controlnet-hints"] = [edges(picture) for picture in wanted]

    def found(pictures: Sequence[Pixels]) -> float:
        shares = []
        for picture, true in zip(pictures, wanted, strict=True):
            line = edges(true)[..., 0] > 0
            near = ndimage.binary_dilation(edges(picture)[..., 0] > 0, iterations=2)
            shares.append((line & near).sum() / line.sum())
        return round(float(np.mean(shares)), 3)

    return {"edges_found": found(keep["controlnet"]), "without": found(free)}


def evaluated(models: Path, sheets: Path | None) -> dict[str, Any]:
    """Figures of every small model whose file is there; sheets of eight or sixteen pictures each go into `sheets`."""
    torch.set_num_threads(THREADS)
    checkpoint = Checkpoint.load(models / CHECKPOINT)
    keep: dict[str, list[Pixels]] = {}
    figures = {
        **pixel_networks(checkpoint, models, keep),
        **lora(checkpoint, models / LORA, keep),
        **inversion(checkpoint, models / EMBEDDING, keep),
        **controlnet(checkpoint, models / CONTROLNET, keep),
    }
    if sheets is not None:
        sheets.mkdir(parents=True, exist_ok=True)
        for name, pictures in keep.items():
            Image.fromarray(contact_sheet(pictures, 8)).save(sheets / f"{name}.png")
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.adapters_evaluated", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--sheets", type=Path, help="folder for contact sheets")
    arguments = parser.parse_args()
    print(json.dumps(evaluated(arguments.models, arguments.sheets), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
