"""VAE nodes: between pictures and latents."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Int, Link
from orchestrator.nodes.links import Image, ImageIn, LatentIn, VaeIn
from orchestrator.ports import Ctx
from orchestrator.values.models import Vae
from orchestrator.values.tensors import Latent

_IMAGE = (("IMAGE", "IMAGE"),)
_LATENT = (("LATENT", "LATENT"),)
Overlap = Annotated[int, Int(default=64, min=0, max=4096, step=32)]
# Kept for the wire: they mean something for video VAEs only.
TemporalSize = Annotated[int, Int(default=64, min=8, max=4096, step=4)]
TemporalOverlap = Annotated[int, Int(default=8, min=4, max=4096, step=4)]


@node("VAEDecode", category="latent", display_name="VAE Decode", outputs=_IMAGE, lane="accelerator")
def vae_decode(
    ctx: Ctx, samples: Annotated[Latent, Link("LATENT", options={})], vae: Annotated[Vae, Link("VAE", options={})]
) -> tuple[Image]:
    """Pictures of latents."""
    from orchestrator.nodes.autoencode import decode

    return (decode(ctx, vae, samples.samples),)


@node("VAEEncode", category="latent", display_name="VAE Encode", outputs=_LATENT, lane="accelerator")
def vae_encode(ctx: Ctx, pixels: ImageIn, vae: VaeIn) -> tuple[Latent]:
    """Latents of pictures; sides are cut to multiples of 8 around the centre."""
    from orchestrator.nodes.autoencode import encode

    return (Latent(encode(ctx, vae, pixels)),)


@node("VAEDecodeTiled", category="_for_testing", display_name="VAE Decode (Tiled)", outputs=_IMAGE, lane="accelerator")
def vae_decode_tiled(
    ctx: Ctx, samples: LatentIn, vae: VaeIn, tile_size: Annotated[int, Int(default=512, min=64, max=4096, step=32)],
    overlap: Overlap, temporal_size: TemporalSize, temporal_overlap: TemporalOverlap,
) -> tuple[Image]:  # fmt: skip
    """Pictures of latents, tile by tile, for less memory; an overlap over a quarter of the tile is lowered to it."""
    from orchestrator.nodes.autoencode import decode_tiled

    return (decode_tiled(ctx, vae, samples.samples, tile_size, overlap),)


@node("VAEEncodeTiled", category="_for_testing", display_name="VAE Encode (Tiled)", outputs=_LATENT, lane="accelerator")
def vae_encode_tiled(
    ctx: Ctx, pixels: ImageIn, vae: VaeIn, tile_size: Annotated[int, Int(default=512, min=64, max=4096, step=64)],
    overlap: Overlap, temporal_size: TemporalSize, temporal_overlap: TemporalOverlap,
) -> tuple[Latent]:  # fmt: skip
    """Latents of pictures, tile by tile, for less memory; the overlap must be smaller than half a tile."""
    from orchestrator.nodes.autoencode import encode_tiled

    return (Latent(encode_tiled(ctx, vae, pixels, tile_size, overlap)),)
