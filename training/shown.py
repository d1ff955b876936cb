"""Pictures from a checkpoint file, through our own sampling package, many prompts at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from model_service.archs.registry import detect
from model_service.weights.header import Header
from model_service.weights.reader import read_header
from sampling.guidance import Cond, denoiser
from sampling.noise import initial_noise
from sampling.run import sample
from sampling.schedule import discrete, sigmas_for
from training.crops import as_pixels
from training.draw import Pixels
from training.vae import Vae
from training.words import prompt_rows

MODEL_SAMPLING = discrete("eps")
_BATCH = 16


@dataclass(frozen=True)
class Settings:
    """What a KSampler is told."""

    side: int = 128
    steps: int = 20
    cfg: float = 5.0
    sampler: str = "euler"
    scheduler: str = "normal"


@dataclass(frozen=True)
class Checkpoint:
    """The networks of a file. `pseudo` are words that stand for vectors [n, width] (textual inversion)."""

    text: nn.Module
    unet: nn.Module
    vae: Vae
    layers: int

    @staticmethod
    def load(file: Path) -> Checkpoint:
        header: Header = read_header(file)
        weights = load_file(file)
        nets: dict[str, nn.Module] = {}
        layers = 0
        for component in detect(header):
            net = component.arch.build(component.config)
            own = {name: weights[entry.name].float() for name, entry in component.part.entries.items()}
            net.load_state_dict({name: own[name] for name in net.state_dict()})
            nets[component.arch.id] = net.eval().requires_grad_(False)
            layers = getattr(component.config, "layers", layers)
        return Checkpoint(
            nets["clip_l"], nets["sd15_unet"], Vae(nets["kl_vae_encoder"], nets["kl_vae_decoder"]), layers
        )

    @torch.no_grad()
    def context(self, prompts: Sequence[str], pseudo: Mapping[str, Tensor] | None = None) -> Tensor:
        """Hidden states [B, 77, width] of prompts."""
        return self.hidden(*self.embedded(prompts, pseudo))

    def embedded(self, prompts: Sequence[str], pseudo: Mapping[str, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Token ids [B, 77] and vectors [B, 77, width]; a word of `pseudo`, one token, is replaced by its vectors."""
        tokens = torch.tensor(prompt_rows(prompts)[0])
        table = cast("nn.Embedding", self.text.get_submodule("text_model.embeddings.token_embedding"))
        rows = list(table(tokens))
        for word, vectors in (pseudo or {}).items():
            mark = prompt_rows([word])[0][0][1]
            for number, ids in enumerate(tokens.tolist()):
                if mark in ids:
                    at = ids.index(mark)
                    rows[number] = torch.cat((rows[number][:at], vectors, rows[number][at + 1 :]))[: len(ids)]
        return tokens, torch.stack(rows)

    def text_inputs(self, tokens: Tensor, embeds: Tensor) -> tuple[Tensor, ...]:
        """The text encoder's inputs where every vector is given."""
        return tokens, embeds, torch.ones((*embeds.shape[:2], 1)), torch.tensor([self.layers])

    def hidden(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        """Hidden states [B, 77, width] of the last layer."""
        hidden, _ = self.text(*self.text_inputs(tokens, embeds))
        return cast("Tensor", hidden)

    def latents(
        self, prompts: Sequence[str], seeds: Sequence[int], settings: Settings, negative: str = "", **extra: Any
    ) -> Tensor:
        """Sampled latents [B, 4, h, w], as samplers see them; each prompt has the noise of its own seed."""
        side = settings.side // 8
        noise = torch.cat([initial_noise((1, 4, side, side), seed) for seed in seeds])
        positive = Cond(self.context(prompts, extra.get("pseudo")))
        against = Cond(self.context([negative] * len(prompts)))
        unet = extra.get("unet", self.unet)

        def predict(x: Tensor, timestep: Tensor, inputs: Mapping[str, Any]) -> Tensor:
            return cast("Tensor", unet(x, timestep, inputs["context"]))

        guided = denoiser(predict, MODEL_SAMPLING, [positive], [against], settings.cfg, latent_size=(side, side))
        sigmas = sigmas_for(MODEL_SAMPLING, settings.scheduler, settings.steps, sampler=settings.sampler)
        return sample(
            guided, MODEL_SAMPLING, noise=noise, latent=torch.zeros_like(noise), sigmas=sigmas,
            sampler=settings.sampler, seed=seeds[0],
        )  # fmt: skip

    def pictures(
        self, prompts: Sequence[str], seeds: Sequence[int], settings: Settings = Settings(), **extra: Any
    ) -> list[Pixels]:
        """RGB pictures [side, side, 3] for prompts and their seeds."""
        found: list[Pixels] = []
        for start in range(0, len(prompts), _BATCH):
            part = slice(start, start + _BATCH)
            found += as_pixels(self.vae.decode(self.latents(prompts[part], seeds[part], settings, **extra)))
        return found


def contact_sheet(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Pictures of one size side by side, row after row."""
    side = pictures[0].shape[0]
    rows = -(-len(pictures) // columns)
    sheet = torch.full((rows * side, columns * side, 3), 255, dtype=torch.uint8).numpy()
    for number, picture in enumerate(pictures):
        top, left = number // columns * side, number % columns * side
        sheet[top : top + side, left : left + side] = picture
    return sheet
