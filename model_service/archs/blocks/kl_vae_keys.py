"""Configuration of the KL-regularised autoencoder's two halves, read from tensor names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kit.errors import InvalidModel
from model_service.archs.spec import Fact, Part

GROUPS = 32


@dataclass(frozen=True)
class VaeConfig:
    """One half. `channels` by level, finest first; `embed_channels` is 0 where there is no quantiser convolution."""

    image_channels: int
    latent_channels: int
    embed_channels: int
    channels: tuple[int, ...]
    blocks: int

    @property
    def downscale(self) -> int:
        """Image pixels per latent pixel and side."""
        return int(2 ** (len(self.channels) - 1))


def _levels(part: Part, start: str) -> tuple[tuple[int, ...], int]:
    """Widths by level and the residual blocks of a level, below `start` (`decoder.up` or `encoder.down`)."""
    depth = part.count(start + ".{}.block.")
    widths = [part.need(f"{start}.{level}.block.0.conv2.weight", rank=4)[0] for level in range(depth)]
    blocks = {part.count(f"{start}.{level}.block.{{}}.") for level in range(depth)}
    if len(blocks) != 1 or any(width % GROUPS for width in widths):
        raise InvalidModel("levels of this autoencoder contradict each other", widths=widths, blocks=sorted(blocks))
    if any(part.has(f"{start}.{level}.attn.") for level in range(depth)):
        raise InvalidModel("an autoencoder with attention outside its middle is not supported", at=f"{start}.N.attn")
    return tuple(widths), blocks.pop()


def configure_decoder(part: Part) -> VaeConfig:
    widths, blocks = _levels(part, "decoder.up")
    quantiser = part.entries.get("post_quant_conv.weight")
    return VaeConfig(
        image_channels=part.need("decoder.conv_out.weight", rank=4)[0],
        latent_channels=part.need("decoder.conv_in.weight", rank=4)[1],
        embed_channels=quantiser.shape[1] if quantiser else 0,
        channels=widths,
        blocks=blocks,
    )


def configure_encoder(part: Part) -> VaeConfig:
    widths, blocks = _levels(part, "encoder.down")
    quantiser = part.entries.get("quant_conv.weight")
    return VaeConfig(
        image_channels=part.need("encoder.conv_in.weight", rank=4)[1],
        latent_channels=part.need("encoder.conv_out.weight", rank=4)[0] // 2,
        embed_channels=quantiser.shape[0] // 2 if quantiser else 0,
        channels=widths,
        blocks=blocks,
    )


def facts(config: VaeConfig) -> Mapping[str, Fact]:
    return {
        "family": "KL-VAE",
        "latent_channels": config.embed_channels or config.latent_channels,
        "image_channels": config.image_channels,
        "downscale": config.downscale,
    }
