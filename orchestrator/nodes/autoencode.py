"""Pictures to latents and back, whole or in tiles. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from kit.errors import InvalidRequest, Unsupported
from orchestrator.nodes.facts import whole
from orchestrator.nodes.tiles import Tiling, three_shapes, tiled
from orchestrator.ports import Ctx
from orchestrator.values.models import Vae

# Pictures that go into one call together hold at most this many pixels; results do not depend on it.
_PIXELS_PER_CALL = 512 * 512


def decode(ctx: Ctx, vae: Vae, latents: Tensor) -> Tensor:
    """Pictures float32 [B, H, W, 3] in 0..1 of `latents` [B, C, h, w]."""
    call, scale = _decoder(ctx, vae, latents)
    per_call = max(1, _PIXELS_PER_CALL // (latents.shape[-2] * latents.shape[-1] * scale * scale))
    return _as_pictures(torch.cat([_checked(ctx, call, part) for part in _parts(latents, per_call)]))


def decode_tiled(ctx: Ctx, vae: Vae, latents: Tensor, tile: int, overlap: int) -> Tensor:
    """As `decode`, the mean of three passes with tiles of different shape; `tile` and `overlap` in pixels."""
    call, scale = _decoder(ctx, vae, latents)
    overlap = tile // 4 if tile < overlap * 4 else overlap
    return _as_pictures(_mean_of_passes(ctx, call, latents, tile // scale, overlap // scale, scale))


def encode(ctx: Ctx, vae: Vae, pictures: Tensor) -> Tensor:
    """Latents float32 [B, C, h, w] (posterior means) of `pictures` [B, H, W, C], cut to whole latent cells."""
    call, scale = _encoder(ctx, vae)
    pixels = _as_pixels(pictures, scale)
    per_call = max(1, _PIXELS_PER_CALL // (pixels.shape[-2] * pixels.shape[-1]))
    return torch.cat([_checked(ctx, call, part) for part in _parts(pixels, per_call)])


def encode_tiled(ctx: Ctx, vae: Vae, pictures: Tensor, tile: int, overlap: int) -> Tensor:
    """As `encode`, the mean of three passes with tiles of different shape; `tile` and `overlap` in pixels."""
    call, scale = _encoder(ctx, vae)
    return _mean_of_passes(ctx, call, _as_pixels(pictures, scale), tile, overlap, 1 / scale)


_Call = Callable[[Tensor], Tensor]


def _decoder(ctx: Ctx, vae: Vae, latents: Tensor) -> tuple[_Call, int]:
    if vae.decoder is None:
        raise Unsupported("this VAE file has no decoder", reason="COMPONENT_MISSING", component="vae_decoder")
    servable = ctx.models.prepare(vae.decoder)
    channels = whole(vae.decoder, servable.facts, "latent_channels")
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise InvalidRequest(
            "this latent is not for this VAE: it has another number of channels", reason="LATENT_CHANNELS",
            shape=list(latents.shape), channels=channels, vae=vae.decoder.file.name,
        )  # fmt: skip

    def call(part: Tensor) -> Tensor:
        latent = np.ascontiguousarray(part.numpy(), dtype=np.float32)
        return torch.from_numpy(ctx.models.infer(servable, {"latent": latent})["image"])

    return call, whole(vae.decoder, servable.facts, "downscale")


def _encoder(ctx: Ctx, vae: Vae) -> tuple[_Call, int]:
    if vae.encoder is None:
        raise Unsupported("this VAE file has no encoder", reason="COMPONENT_MISSING", component="vae_encoder")
    servable = ctx.models.prepare(vae.encoder)

    def call(part: Tensor) -> Tensor:
        image = np.ascontiguousarray(part.numpy(), dtype=np.float32)
        return torch.from_numpy(ctx.models.infer(servable, {"image": image})["latent"])

    return call, whole(vae.encoder, servable.facts, "downscale")


def _parts(samples: Tensor, size: int) -> Iterator[Tensor]:
    for start in range(0, samples.shape[0], size):
        yield samples[start : start + size]


def _checked(ctx: Ctx, call: _Call, part: Tensor) -> Tensor:
    ctx.check_cancelled()
    return call(part)


def _mean_of_passes(ctx: Ctx, call: _Call, samples: Tensor, tile: int, overlap: int, scale: float) -> Tensor:
    passes = three_shapes(tile, overlap, scale)
    total = sum(tiling.steps(samples) for tiling in passes)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        ctx.progress(done, total)

    def one(tiling: Tiling) -> Tensor:
        return tiled(samples, call, tiling, step)

    return (one(passes[0]) + one(passes[1]) + one(passes[2])) / 3.0


def _as_pictures(raw: Tensor) -> Tensor:
    """Decoder output [B, C, H, W] in about -1..1 to [B, H, W, C] in 0..1."""
    return raw.div(2.0).add_(0.5).clamp_(0.0, 1.0).movedim(1, -1)  # B H W C


def _as_pixels(pictures: Tensor, scale: int) -> Tensor:
    """Pictures to encoder input [B, 3, H, W] in -1..1, cut around the centre to multiples of `scale`."""
    height, width = pictures.shape[1:3]
    if pictures.shape[-1] < 3 or min(height, width) < scale:
        raise InvalidRequest(
            f"a picture needs three channels and sides of at least {scale} pixels to be encoded",
            reason="PICTURE_SHAPE", shape=list(pictures.shape),
        )  # fmt: skip
    rows, columns = height // scale * scale, width // scale * scale
    top, left = height % scale // 2, width % scale // 2
    cut = pictures[:, top : top + rows, left : left + columns, :3]
    return cut.movedim(-1, 1) * 2.0 - 1.0  # B 3 H W
