"""The names by which LoRA files call the weights of a component, as pure functions of the component's own names.

Three worlds name one UNet: its own LDM layout (`input_blocks.4.1...`), diffusers (`down_blocks.1.attentions.0...`) and
kohya's trainers (either of them with underscores behind `lora_unet_`). The way from LDM to diffusers follows from
where the down- and upsamplers stand, so it holds for any number of levels and residual blocks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from kit.errors import Unsupported

_WEIGHT = ".weight"

# Outside the blocks, and inside a residual block: LDM's name, diffusers' name.
_FRAME = {
    "input_blocks.0.0": "conv_in", "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1", "label_emb.0.2": "add_embedding.linear_2", "out.0": "conv_norm_out",
    "out.2": "conv_out",
}  # fmt: skip
_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip
_BLOCK = re.compile(r"(input_blocks|output_blocks)\.(\d+)\.(\d+)\.(.+)")
_MIDDLE = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}
_TEXT_PREFIXES = ("lora_te", "text_encoder", "clip_l.", "lycoris_text_encoder_")
_TEXT_LAYER = re.compile(r"(?:.*\.)?(encoder\.layers\.\d+\..+)\.weight")


def diffusers_blocks(names: Iterable[str]) -> dict[str, str]:
    """LDM block prefix -> diffusers block prefix, for every block that `names` (LDM layout) mention.

    Going through the blocks in order, a residual block counts up within its level and a sampler ends the level; this
    is how both layouts are built, whatever the number of levels and blocks.
    """
    found: dict[tuple[str, int], set[str]] = {}
    for name in names:
        match = _BLOCK.match(name)
        if match is not None:
            found.setdefault((match[1], int(match[2])), set()).add(f"{match[3]}.{match[4].split('.')[0]}")
    blocks: dict[str, str] = {}
    for side, direction, first in (("input_blocks", "down", 1), ("output_blocks", "up", 0)):
        level = position = 0
        for index in sorted(number for group, number in found if group == side and number >= first):
            parts = found[side, index]
            own = f"{side}.{index}"
            if "0.op" in parts:
                blocks[f"{own}.0"] = f"{direction}_blocks.{level}.downsamplers.0"
                level, position = level + 1, 0
                continue
            blocks[f"{own}.0"] = f"{direction}_blocks.{level}.resnets.{position}"
            if "1.proj_in" in parts:
                blocks[f"{own}.1"] = f"{direction}_blocks.{level}.attentions.{position}"
            position += 1
            sampler = next((place for place in ("1", "2") if f"{place}.conv" in parts), None)
            if sampler is not None:
                blocks[f"{own}.{sampler}"] = f"{direction}_blocks.{level}.upsamplers.0"
                level, position = level + 1, 0
    return blocks


def diffusers_stem(stem: str, blocks: Mapping[str, str]) -> str | None:
    """Diffusers' name of an LDM UNet weight without `.weight`; None where diffusers has none."""
    if stem in _FRAME:
        return _FRAME[stem]
    parts = stem.split(".")
    if parts[0] == "middle_block" and len(parts) > 2 and parts[1] in _MIDDLE:
        block, rest = f"mid_block.{_MIDDLE[parts[1]]}", ".".join(parts[2:])
    else:
        found = blocks.get(".".join(parts[:3]))
        if found is None:
            return None
        block, rest = found, ".".join(parts[3:])
    if ".resnets." in block:
        inner = _RESNET.get(rest)
        return None if inner is None else f"{block}.{inner}"
    if "samplers." in block:
        return f"{block}.conv"
    return f"{block}.{rest}"


def unet_aliases(names: Iterable[str]) -> dict[str, str]:
    """Every accepted stem (a LoRA key without its ending) -> tensor name, for a UNet in LDM layout."""
    own = [name for name in names if name.endswith(_WEIGHT)]
    blocks = diffusers_blocks(own)
    aliases: dict[str, str] = {}
    for name in own:
        stem = name.removesuffix(_WEIGHT)
        flat = stem.replace(".", "_")
        calls = [f"diffusion_model.{stem}", f"model.diffusion_model.{stem}", f"lora_unet_{flat}"]
        other = diffusers_stem(stem, blocks)
        if other is not None:
            flat = other.replace(".", "_")
            # Attention processors of early diffusers: `attn1.processor.to_q`, and `to_out` without its index.
            processor = other.replace(".to_", ".processor.to_").removesuffix(".0")
            calls += [f"lora_unet_{flat}", f"lycoris_{flat}"]
            calls += [prefix + called for prefix in ("", "unet.") for called in (other, processor)]
        for call in calls:
            aliases.setdefault(call, name)
    return aliases


def text_aliases(names: Iterable[str]) -> dict[str, str]:
    """Every accepted stem -> tensor name, for CLIP-L as Stable Diffusion 1.x's only text encoder."""
    aliases: dict[str, str] = {}
    for name in names:
        match = _TEXT_LAYER.fullmatch(name)
        if match is None:
            continue
        stem = f"text_model.{match[1]}"
        flat = stem.replace(".", "_")
        for call in (
            f"lora_te_{flat}", f"lora_te1_{flat}", f"text_encoder.{stem}", f"text_encoders.clip_l.transformer.{stem}",
            f"clip_l.transformer.{stem}", f"lycoris_text_encoder_{flat}",
        ):  # fmt: skip
            aliases.setdefault(call, name)
    return aliases


_ALIASES: dict[str, Callable[[Iterable[str]], dict[str, str]]] = {"sd15_unet": unet_aliases, "clip_l": text_aliases}


def belongs_elsewhere(arch: str, stem: str) -> bool:
    """Whether a stem speaks of the model's other component: one file has pairs for the UNet and the text encoder."""
    is_text = stem.startswith(_TEXT_PREFIXES)
    return not is_text if arch == "clip_l" else is_text


def lora_aliases(arch: str, names: Iterable[str]) -> dict[str, str]:
    """Accepted stem -> tensor name for a component of architecture `arch`; `Unsupported` (LORA_ARCH) for others."""
    aliases = _ALIASES.get(arch)
    if aliases is None:
        raise Unsupported(
            "LoRA is supported for Stable Diffusion 1.5 only so far", reason="LORA_ARCH", arch=arch,
            supported=", ".join(_ALIASES),
        )  # fmt: skip
    return aliases(names)
