"""The encoder of the KL autoencoder that SD1.x, SD2.x and SDXL share; Flux and SD3 have it without quantiser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_service.archs.blocks.kl_vae_keys import VaeConfig, configure_encoder, facts
from model_service.archs.spec import Arch, Signature, TensorSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCH"]


def _build(config: VaeConfig) -> nn.Module:
    from model_service.archs.kl_vae_encoder.net import VaeEncoder

    return VaeEncoder(config)


def _signature(config: VaeConfig) -> Signature:
    latent = (config.embed_channels or config.latent_channels, "latent_height", "latent_width")
    return Signature(
        inputs=(TensorSpec("image", "FP32", ("batch", config.image_channels, "height", "width")),),
        outputs=(TensorSpec("latent", "FP32", ("batch", *latent)),),
    )


ARCH = Arch(
    id="kl_vae_encoder",
    component="vae_encoder",
    prefixes=("first_stage_model.", "vae.", ""),
    marks=(
        "encoder.conv_in.weight",
        "encoder.mid.attn_1.q.weight",
        "encoder.down.0.block.0.conv1.weight",
        "encoder.conv_out.weight",
    ),
    absent=("encoder.middle.", "encoder.down_blocks."),
    owns=("encoder.", "quant_conv."),
    configure=configure_encoder,
    build=_build,
    tensors=_signature,
    facts=facts,
    samples=(VaeConfig(3, 4, 4, (128, 256, 512, 512), 2),),
)
