"""All stages of the training in order; each leaves a file and is skipped when that file is there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from kit.starter import CHECKPOINT
from training.adapters import Bench
from training.crops import Pool, any_picture, as_tensor
from training.latents import LatentSet, encoded, training_pictures
from training.loop import Plan, Training
from training.memory import keep_freed_memory
from training.shown import Checkpoint
from training.text import Reading, reading_loss
from training.text_and_unet import TextAndUNet, diffusion_loss, picked
from training.vae import CARRIERS, Vae, fold_scale, vae_loss
from training.write import TEXT_PREFIX, UNET_PREFIX, VAE_PREFIX, prefixed, save_atomically, write_weights

THREADS = 2

VAE_PLAN = Plan(steps=1700, rate=1e-3, warmup=100, cooldown=1200, ema=0.995, gentle=CARRIERS)
TEXT_PLAN = Plan(steps=5000, rate=4e-3, warmup=100, cooldown=1500, ema=0.98)
BASE_PLAN = Plan(steps=5200, rate=1.5e-3, warmup=200, cooldown=1300, ema=0.998)
_POOL = 3000  # pictures of which the autoencoder and the pixel networks see crops


@dataclass(frozen=True)
class Share:
    """Part of the base training: `batch` pictures of `side` a step, numbered from `first` on, until step `until`."""

    side: int
    first: int
    count: int
    batch: int
    until: int


# Words are learned on small pictures, where a sample costs a quarter; outlines on ever larger ones.
SMALL = Share(side=64, first=0, count=16_000, batch=64, until=2200)
MIDDLE = Share(side=96, first=50_000, count=8_000, batch=64, until=3500)
LARGE = Share(side=128, first=100_000, count=8_000, batch=64, until=BASE_PLAN.steps)
# Among the last steps, every fourth sees few but larger pictures, so that 256 pixels do not show everything twice.
LARGEST = Share(side=256, first=150_000, count=1_600, batch=14, until=BASE_PLAN.steps)
_LARGEST_FROM, _LARGEST_EVERY = 3600, 4
_SIMPLE_UNTIL = 800  # so long only single things and pairs on plain backgrounds


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

    def pool(self) -> Callable[[], Pool]:
        """The pictures to crop from, drawn when they are first asked for."""
        return cache(lambda: Pool.drawn(_POOL))

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
    pool = shop.pool()
    shop.trained("vae", vae.parameters(), lambda step: vae_loss(vae, pool(), step), VAE_PLAN)
    fold_scale(vae, as_tensor([any_picture(30_000_000 + number, 128) for number in range(160)]))
    return vae


def base_data(shop: Workshop, vae: Vae, share: Share) -> LatentSet:
    folder = shop.work / f"latents-{share.side}"
    return encoded(vae, folder, share.first, share.count, training_pictures(share.side), shop.say)


def trained_base(shop: Workshop, vae: Vae) -> TextAndUNet:
    """Text encoder and UNet, on one share after the other."""
    model = TextAndUNet.new()
    reading = Reading.of(model)
    shop.trained("text", reading.parameters(), lambda step: reading_loss(reading, step), TEXT_PLAN)
    data = cache(lambda share: base_data(shop, vae, share))

    def loss(step: int) -> Tensor:
        share = _share_of(step)
        known = data(share)
        if step < _SIMPLE_UNTIL:
            numbers = [known.simple[k] for k in picked(len(known.simple), share.batch, step)]
        else:
            numbers = picked(len(known), share.batch, step)
        return diffusion_loss(model, known, numbers, step)

    # What the encoder knows already must not be shaken off by a UNet that cannot listen yet.
    knowing = tuple(name for name in model.parameters() if not name.startswith("unet."))
    shop.trained("base", model.parameters(), loss, replace(BASE_PLAN, gentle=knowing))
    return model


def _share_of(step: int) -> Share:
    if step >= _LARGEST_FROM and step % _LARGEST_EVERY == 0:
        return LARGEST
    return next(share for share in (SMALL, MIDDLE, LARGE) if step < share.until)


def write_checkpoint(shop: Workshop, vae: Vae, model: TextAndUNet) -> None:
    """SD1.5's single-file layout."""
    model.fill_token_table()
    tensors = {
        **prefixed(model.unet, UNET_PREFIX),
        **prefixed(model.text, TEXT_PREFIX),
        **prefixed(vae.encoder, VAE_PREFIX),
        **prefixed(vae.decoder, VAE_PREFIX),
    }
    write_weights(tensors, shop.models, CHECKPOINT, "Heliograph's starter model, trained on pictures drawn by code")


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
    keep_freed_memory()
    shop.announce()
    vae = trained_vae(shop)
    model = trained_base(shop, vae)
    if not shop.result("base-written").exists():
        write_checkpoint(shop, vae, model)
        save_atomically({}, shop.result("base-written"))
    Bench(shop, Checkpoint.load(shop.models / CHECKPOINT), base_data(shop, vae, LARGE)).all()
