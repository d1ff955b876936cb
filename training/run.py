"""All stages of the training in order; each leaves a file and is skipped when that file is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from training.adapters import Bench
from training.latents import LatentSet, encoded, training_pictures
from training.loop import Plan, Training
from training.shown import Checkpoint
from training.text_and_unet import TextAndUNet, diffusion_loss
from training.vae import Vae, as_tensor, fold_scale, vae_loss, vae_picture
from training.write import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, prefixed, save_atomically, write_weights

THREADS = 2
CHECKPOINT = "checkpoints/heliograph-starter.safetensors"

VAE_PLAN = Plan(steps=900, rate=4e-4, warmup=60, cooldown=400, ema=0.99, save_every_s=20.0)
BASE_PLAN = Plan(steps=3400, rate=1e-3, warmup=150, cooldown=900, ema=0.998)


@dataclass(frozen=True)
class Share:
    """Part of the base training: pictures of `side` from picture number `first` on, until step `until`."""

    side: int
    first: int
    count: int
    batch: int


SMALL = Share(side=96, first=0, count=6_000, batch=24)
LARGE = Share(side=128, first=100_000, count=4_000, batch=24)
HUGE = Share(side=256, first=200_000, count=240, batch=6)
_LARGE_FROM = 2000
_HUGE_FROM = 2700  # from here on every third step


@dataclass(frozen=True)
class Workshop:
    """Where a training keeps its state (`work`) and puts its results (`models`)."""

    work: Path
    models: Path
    say: Callable[[str], None]

    def state(self, name: str) -> Path:
        return self.work / f"{name}.state.pt"

    def result(self, name: str) -> Path:
        return self.work / f"{name}.pt"

    def trained(
        self, name: str, parameters: dict[str, nn.Parameter], loss: Callable[[int], Tensor], plan: Plan
    ) -> None:
        """Train unless the result is there, and put the result into the parameters."""
        file = self.result(name)
        if not file.exists():
            training = Training(name, parameters, loss, plan, self.state(name), self.say)
            weights = training.run()
            save_atomically({"weights": weights, "seconds": training.seconds}, file)
            self.say(f"{name}: done after {training.seconds / 60:.1f} min")
        load_weights(parameters, torch.load(file, weights_only=True)["weights"])

    def announce(self) -> None:
        """Leave the process id in the work folder, for whoever wants to pause the training."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "pid").write_text(str(os.getpid()), "ascii")


@torch.no_grad()
def load_weights(parameters: dict[str, nn.Parameter], weights: dict[str, Tensor]) -> None:
    for name, value in parameters.items():
        value.copy_(weights[name])


def trained_vae(shop: Workshop) -> Vae:
    """The autoencoder with its scale folded in."""
    vae = Vae.new()
    shop.trained("vae", vae.parameters(), lambda step: vae_loss(vae, step), VAE_PLAN)
    fold_scale(vae, as_tensor([vae_picture(30_000_000 + number, 128) for number in range(160)]))
    return vae


def base_data(shop: Workshop, vae: Vae, share: Share) -> LatentSet:
    folder = shop.work / f"latents-{share.side}"
    return encoded(vae, folder, share.first, share.count, training_pictures(share.side), shop.say)


def trained_base(shop: Workshop, vae: Vae) -> TextAndUNet:
    """Text encoder and UNet: small pictures first, because they cost half; then larger ones."""
    model = TextAndUNet.new()
    small, large, huge = (base_data(shop, vae, share) for share in (SMALL, LARGE, HUGE))

    def loss(step: int) -> Tensor:
        if step < _LARGE_FROM:
            return diffusion_loss(model, small, SMALL.batch, step)
        if step >= _HUGE_FROM and step % 3 == 0:
            return diffusion_loss(model, huge, HUGE.batch, step)
        return diffusion_loss(model, large, LARGE.batch, step)

    shop.trained("base", model.parameters(), loss, BASE_PLAN)
    return model


def write_checkpoint(shop: Workshop, vae: Vae, model: TextAndUNet) -> None:
    """SD1.5's single-file layout."""
    model.fill_token_table()
    tensors = {
        **prefixed(model.unet, UNET_PREFIX),
        **prefixed(model.text, TEXT_PREFIX),
        **prefixed(vae.encoder, VAE_PREFIX),
        **prefixed(vae.decoder, VAE_PREFIX),
    }
    write_weights(tensors, shop.models / CHECKPOINT, "Heliograph's starter model, trained on pictures drawn by code")


def snapshot(shop: Workshop) -> None:
    """Write the checkpoint as far as the training has come, from the averaged weights of its saved state."""
    vae, model = trained_vae(shop), TextAndUNet.new()
    file = shop.result("base") if shop.result("base").exists() else shop.state("base")
    state = torch.load(file, weights_only=True)
    load_weights(model.parameters(), state.get("weights") or state["average"])
    write_checkpoint(shop, vae, model)
    shop.say(f"wrote {CHECKPOINT} at step {state.get('step', 'end')}")


def run(shop: Workshop) -> None:
    """Everything, in an order in which each stage finds what it builds on."""
    torch.set_num_threads(THREADS)
    shop.announce()
    vae = trained_vae(shop)
    model = trained_base(shop, vae)
    if not shop.result("base-written").exists():
        write_checkpoint(shop, vae, model)
        save_atomically({}, shop.result("base-written"))
    Bench(shop, Checkpoint.load(shop.models / CHECKPOINT), base_data(shop, vae, LARGE)).all()
