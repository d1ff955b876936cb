"""Configuration and signature of a Stable Diffusion 1.x UNet, read from tensor names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kit.errors import InvalidModel
from model_service.archs.spec import Fact, Part, Signature, TensorSpec

GROUPS = 32


@dataclass(frozen=True)
class Level:
    """One resolution: its width and the transformer depth behind each residual block on the way down and up."""

    channels: int
    down_depths: tuple[int, ...]
    up_depths: tuple[int, ...]


@dataclass(frozen=True)
class UNetConfig:
    """Everything that the network's structure depends on; heads are not in the weights (SD1.x: 8 at every level)."""

    model_channels: int
    in_channels: int
    out_channels: int
    context_dim: int
    levels: tuple[Level, ...]
    middle_depth: int
    heads: int = 8


def is_sd1(part: Part) -> bool:
    """SD1.x projects into its transformers by 1x1 convolutions; SD2.x and SDXL by linear layers."""
    return len(part.need("middle_block.1.proj_in.weight", rank=None)) == 4


def configure(part: Part) -> UNetConfig:
    """Walk the blocks in order; raises InvalidModel where a block is missing or a width does not fit the groups."""
    first = part.need("input_blocks.0.0.weight", rank=4)
    widths, downs = _way_down(part)
    config = UNetConfig(
        model_channels=first[0],
        in_channels=first[1],
        out_channels=part.need("out.2.weight", rank=4)[0],
        context_dim=part.need("middle_block.1.transformer_blocks.0.attn2.to_k.weight", rank=2)[1],
        levels=tuple(
            Level(width, down, up) for width, down, up in zip(widths, downs, _way_up(part, downs), strict=True)
        ),
        middle_depth=part.count("middle_block.1.transformer_blocks.{}."),
    )
    odd = [width for width in (config.model_channels, *widths) if width % GROUPS or width % config.heads]
    if odd:
        raise InvalidModel("widths of this UNet are not divisible by 32 groups and 8 heads", widths=odd)
    return config


def _way_down(part: Part) -> tuple[list[int], list[tuple[int, ...]]]:
    widths: list[int] = []
    depths: list[list[int]] = [[]]
    for number in range(1, part.count("input_blocks.{}.")):
        block = f"input_blocks.{number}"
        if part.has(f"{block}.0.op."):
            depths.append([])
            continue
        width = part.need(f"{block}.0.out_layers.3.weight", rank=4)[0]
        if not depths[-1]:
            widths.append(width)
        depths[-1].append(part.count(block + ".1.transformer_blocks.{}."))
    if not all(depths):
        raise InvalidModel("a level of this UNet has no residual block", levels=[len(level) for level in depths])
    return widths, [tuple(level) for level in depths]


def _way_up(part: Part, downs: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Depths on the way up, which has one block more a level than the way down; in the order of `downs`."""
    number, levels = 0, []
    for down in reversed(downs):
        blocks = range(number, number + len(down) + 1)
        levels.append(tuple(part.count(f"output_blocks.{block}.1.transformer_blocks.{{}}.") for block in blocks))
        number += len(blocks)
    return levels[::-1]


def signature(config: UNetConfig) -> Signature:
    """timesteps are real valued; out is the prediction before any scaling."""
    return Signature(
        inputs=(
            TensorSpec("x", "FP32", ("batch", config.in_channels, "height", "width")),
            TensorSpec("timesteps", "FP32", ("batch",)),
            TensorSpec("context", "FP32", ("batch", "tokens", config.context_dim)),
        ),
        outputs=(TensorSpec("out", "FP32", ("batch", config.out_channels, "height", "width")),),
    )


def facts(config: UNetConfig) -> Mapping[str, Fact]:
    """What a sampler must know; the noise schedule (Rombach et al. 2022) has betas linear in their square roots."""
    return {
        "family": "SD1.5",
        "prediction": "eps",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "training_steps": 1000,
        "in_channels": config.in_channels,
        "latent_channels": config.out_channels,
        "latent_scale": 0.18215,
        "downscale": 8,
        "context_dim": config.context_dim,
    }
