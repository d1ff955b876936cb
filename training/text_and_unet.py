"""Text encoder and denoiser, trained together: noise prediction on latents, under captions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_service.archs.clip_l import ClipConfig
from model_service.archs.registry import arch
from model_service.archs.sd15_unet import Level, UNetConfig
from sampling.schedule import discrete
from training.captions import training_caption
from training.latents import LatentSet
from training.loop import draws
from training.memory import channels_last, channels_last_images
from training.scenes import training_scene
from training.words import UNKNOWN, known_tokens, prompt_rows

TEXT = ClipConfig(width=64, layers=4, mlp_width=256, vocabulary=49408, positions=77)
UNET = UNetConfig(
    model_channels=64,
    in_channels=4,
    out_channels=4,
    context_dim=TEXT.width,
    # At the finest level attention over all pixels would be most of the cost; below it is nearly free.
    levels=(Level(64, (0,), (0, 0)), Level(96, (1,), (1, 1)), Level(96, (1,), (1, 1))),
    middle_depth=1,
)
_SEED = 23
_MIN_SNR = 5.0  # Hang et al. 2023: steps with little noise count less
_UNKNOWN_SPREAD = 0.3


@torch.no_grad()
def _start_text(text: nn.Module) -> None:
    """Positions as waves, so that "the word before" is one rotation for all of them (Vaswani et al. 2017)."""
    for name, weight in text.named_parameters():
        if name.endswith("position_embedding.weight"):
            count, width = weight.shape
            angles = torch.arange(count)[:, None] * torch.logspace(0, -1.78, width // 2)
            weight.copy_(torch.cat((angles.sin(), angles.cos()), dim=1))
        elif name.endswith("bias"):
            weight.zero_()
        elif name.endswith(("out_proj.weight", "fc2.weight")):
            nn.init.normal_(weight, std=0.5 * weight.shape[1] ** -0.5)
        elif weight.ndim == 2 and not name.endswith("embedding.weight"):
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)


@dataclass(frozen=True)
class TextAndUNet:
    """Both networks and `table` [known + 1, width], which stands for the token table while training."""

    text: nn.Module
    unet: nn.Module
    table: nn.Embedding

    @staticmethod
    def new(seed: int = _SEED) -> TextAndUNet:
        torch.manual_seed(seed)
        text, unet = arch("clip_l").build(TEXT), arch("sd15_unet").build(UNET)
        channels_last(unet)
        table = nn.Embedding(len(known_tokens()) + 1, TEXT.width)
        nn.init.normal_(table.weight)
        _start_text(text)
        for name, weight in unet.named_parameters():
            # Blocks begin as the identity and the output as zero, as in DDPM (Ho et al. 2020).
            if name.endswith("out_layers.3.weight") or name == "out.2.weight":
                nn.init.zeros_(weight)
            # Not transformers: words must be heard from the first step on, each apart from the many paddings.
            if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight")):
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
            if name.endswith("proj_out.weight"):
                with torch.no_grad():
                    weight.mul_(0.3)
        return TextAndUNet(text, unet, table)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything trained; the large token table is not, its rows are filled in at the end."""
        text = {f"text.{n}": p for n, p in self.text.named_parameters() if not n.endswith("token_embedding.weight")}
        unet = {f"unet.{n}": p for n, p in self.unet.named_parameters()}
        return {**text, **unet, "table": cast("nn.Parameter", self.table.weight)}

    def context(self, captions: Sequence[str], source: torch.Generator | None = None) -> Tensor:
        """Hidden states [B, 77, width]. With `source`, unknown words get random vectors around theirs."""
        tokens, rows = prompt_rows(captions)
        ids = torch.tensor(rows)
        embeds = self.table(ids)
        if source is not None:
            noise = torch.randn(embeds.shape, generator=source) * _UNKNOWN_SPREAD
            embeds = embeds + noise * (ids == UNKNOWN)[..., None]
        return self.hidden(torch.tensor(tokens), embeds)

    def hidden(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        """Hidden states of the last layer for given token vectors [B, 77, width]."""
        mask = torch.ones((*embeds.shape[:2], 1))
        hidden, _ = self.text(tokens, embeds, mask, torch.tensor([TEXT.layers]))
        return cast("Tensor", hidden)

    def fill_token_table(self) -> None:
        """Put the trained rows into the text encoder; unknown words lie around the unknown one, each elsewhere."""
        weight = cast("nn.Embedding", self.text.get_submodule("text_model.embeddings.token_embedding")).weight
        with torch.no_grad():
            noise = torch.randn(weight.shape, generator=draws(_SEED, -1)) * _UNKNOWN_SPREAD
            weight.copy_(self.table.weight[UNKNOWN] + noise)
            weight[list(known_tokens())] = self.table.weight[1:]


ALPHA_BARS = 1 / (discrete("eps").sigmas ** 2 + 1)


def noised(latents: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(noisy latents, noise, timesteps [B]); timesteps are spread evenly over a batch."""
    count = len(latents)
    share = (torch.randperm(count, generator=source) + torch.rand(count, generator=source)) / count
    steps = (share * len(ALPHA_BARS)).long().clamp_max(len(ALPHA_BARS) - 1)
    noise = torch.randn(latents.shape, generator=source)
    kept = ALPHA_BARS[steps][:, None, None, None]
    noisy = kept.sqrt() * latents + (1 - kept).sqrt() * noise
    return channels_last_images(noisy), noise, steps


def noise_loss(predicted: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """Squared error of the predicted noise, weighted by min(SNR, 5) / SNR."""
    snr = ALPHA_BARS[steps] / (1 - ALPHA_BARS[steps])
    weight = snr.clamp_max(_MIN_SNR) / snr
    return (weight * F.mse_loss(predicted, noise, reduction="none").mean((1, 2, 3))).mean()


def diffusion_loss(model: TextAndUNet, data: LatentSet, numbers: Sequence[int], step: int) -> Tensor:
    """One batch of these pictures of `data`, each with a caption made for this step."""
    source = draws(_SEED, step)
    captions = [
        training_caption(training_scene(data.first + number), random.Random(f"caption {step} {number}"))
        for number in numbers
    ]
    noisy, noise, steps = noised(data.latents[numbers].float(), source)
    predicted = model.unet(noisy, steps.float(), model.context(captions, source))
    return noise_loss(predicted, noise, steps)


def picked(count: int, batch: int, step: int) -> list[int]:
    """Indices of a step's pictures: slices of one permutation an epoch."""
    per_epoch = max(1, count // batch)
    order = torch.randperm(count, generator=draws(_SEED + 1, step // per_epoch))
    start = step % per_epoch * batch
    return order[start : start + batch].tolist()
