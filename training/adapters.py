"""The small models beside the checkpoint: each is trained on the finished file, as its users will have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from kit.starter import CONTROLNET, EMBEDDING, LORA, TAESD_DECODER, TAESD_ENCODER, UPSCALER
from training.controlnet import controlnet_loss, copied_from
from training.inversion import FIRST as CRESCENTS
from training.inversion import crescent_picture, inversion_loss, new_vectors
from training.latents import LatentSet, Picture, encoded
from training.loop import Plan
from training.lora import FIRST as BLUEPRINTS
from training.lora import Lora, blueprint_picture, lora_loss
from training.shown import Checkpoint
from training.taesd import new_pair, taesd_loss
from training.upscaler import new_upscaler, upscaler_loss
from training.write import write_weights

if TYPE_CHECKING:
    from training.run import Workshop

LORA_PLAN = Plan(steps=350, rate=2e-3, warmup=20, cooldown=150, ema=0.98)
INVERSION_PLAN = Plan(steps=250, rate=2e-2, warmup=10, cooldown=120, ema=0.95)
TAESD_PLAN = Plan(steps=600, rate=1e-3, warmup=30, cooldown=250, ema=0.99)
UPSCALER_PLAN = Plan(steps=500, rate=1e-3, warmup=30, cooldown=200, ema=0.99)
CONTROLNET_PLAN = Plan(steps=450, rate=1e-3, warmup=30, cooldown=150, ema=0.98)
_BLUEPRINTS, _CRESCENTS = 1200, 800


@dataclass(frozen=True)
class Bench:
    """The finished checkpoint and the large pictures' latents, which all adapters start from."""

    shop: Workshop
    checkpoint: Checkpoint
    plain: LatentSet

    def pictures(self, name: str, first: int, count: int, picture: Picture) -> LatentSet:
        return encoded(self.checkpoint.vae, self.shop.work / f"latents-{name}", first, count, picture, self.shop.say)

    def lora(self) -> None:
        styled = self.pictures("blueprint", BLUEPRINTS, _BLUEPRINTS, blueprint_picture)
        lora = Lora.new(self.checkpoint)
        self.shop.trained(
            "lora", lora.parameters(),
            lambda step: lora_loss(self.checkpoint, lora, styled, self.plain, step), LORA_PLAN,
        )  # fmt: skip
        write_weights(lora.file_tensors(), self.shop.models, LORA, "white outlines on blue paper; trigger: blueprint")

    def inversion(self) -> None:
        data = self.pictures("crescent", CRESCENTS, _CRESCENTS, crescent_picture)
        vectors = new_vectors(self.checkpoint)
        self.shop.trained(
            "inversion", {"vectors": vectors},
            lambda step: inversion_loss(self.checkpoint, vectors, data, step), INVERSION_PLAN,
        )  # fmt: skip
        write_weights({"emb_params": vectors}, self.shop.models, EMBEDDING, "the shape of a crescent", torch.float32)

    def taesd(self) -> None:
        small, pool = new_pair(), self.shop.pool()
        parameters = {f"{part}.{name}": p for part, net in enumerate(small) for name, p in net.named_parameters()}
        self.shop.trained(
            "taesd", parameters, lambda step: taesd_loss(self.checkpoint.vae, small, pool(), step), TAESD_PLAN
        )
        for net, name in zip(small, (TAESD_ENCODER, TAESD_DECODER), strict=True):
            write_weights(net.state_dict(), self.shop.models, name, "previews of Heliograph's starter model")

    def upscaler(self) -> None:
        net, pool = new_upscaler(), self.shop.pool()
        self.shop.trained(
            "upscaler", dict(net.named_parameters()), lambda step: upscaler_loss(net, pool(), step), UPSCALER_PLAN
        )
        write_weights(net.state_dict(), self.shop.models, UPSCALER, "2x for pictures of flat colours")

    def controlnet(self) -> None:
        net = copied_from(self.checkpoint.unet)
        self.shop.trained(
            "controlnet", dict(net.named_parameters()),
            lambda step: controlnet_loss(self.checkpoint, net, self.plain, step), CONTROLNET_PLAN,
        )  # fmt: skip
        tensors = {f"control_model.{name}": value for name, value in net.state_dict().items()}
        write_weights(tensors, self.shop.models, CONTROLNET, "edges, white on black")

    def all(self) -> None:
        for stage in (self.lora, self.inversion, self.taesd, self.upscaler, self.controlnet):
            stage()
