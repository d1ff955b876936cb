"""The decoder of the KL autoencoder that SD1.x, SD2.x and SDXL share; Flux and SD3 have it without quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_service.archs.blocks.kl_vae_keys import VaeConfig, configure_decoder, facts
from model_service.archs.spec import Arch, Signature, TensorSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCH"]


def _build(config: VaeConfig) -> nn.Module:
    from model_service.archs.kl_vae_decoder.net import VaeDecoder

    return VaeDecoder(config)


def _signature(config: VaeConfig) -> Signature:
    latent = (config.embed_channels or config.latent_channels, "latent_height", "latent_width")
    return Signature(
        inputs=(TensorSpec("latent", "FP32", ("batch", *latent)),),
        outputs=(TensorSpec("image", "FP32", ("batch", config.image_channels, "height", "width")),),
    )


ARCH = Arch(
    id="kl_vae_decoder",
    component="vae_decoder",
    prefixes=("first_stage_model.", "vae.", ""),
    marks=(
        "decoder.conv_in.weight",
        "decoder.mid.attn_1.q.weight",
        "decoder.up.0.block.0.conv1.weight",
        "decoder.conv_out.weight",
    ),
    absent=("decoder.middle.", "decoder.up_blocks."),
    owns=("decoder.", "post_quant_conv."),
    configure=configure_decoder,
    build=_build,
    tensors=_signature,
    facts=facts,
    samples=(VaeConfig(3, 4, 4, (128, 256, 512, 512), 3),),
)
