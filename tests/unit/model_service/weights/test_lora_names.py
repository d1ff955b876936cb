"""Names of LoRA keys: every way of naming one weight leads to it, at any depth of UNet."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kit.errors import Unsupported
from model_service.weights.lora_file import _PAIRS
from model_service.weights.lora_names import diffusers_blocks, lora_aliases, text_aliases, unet_aliases

REPO = Path(__file__).parents[4]
REFERENCE = Path(os.environ.get("HELIOGRAPH_REFERENCE") or REPO.parent / "shared" / "reference")


def ldm_unet(attention, blocks):
    """Weight names of an LDM UNet: `attention[level]` says whether the level has transformers, `blocks` per level."""
    names = ["input_blocks.0.0.weight", "time_embed.0.weight", "time_embed.2.weight", "out.0.weight", "out.2.weight"]

    def block(place, with_attention):
        names.extend(
            f"{place}.0.{part}.weight"
            for part in ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.3", "skip_connection")
        )
        if with_attention:
            names.extend(
                f"{place}.1.{part}.weight"
                for part in ("norm", "proj_in", "proj_out", "transformer_blocks.0.attn1.to_out.0")
            )

    index = 1
    for level, has in enumerate(attention):
        for _ in range(blocks):
            block(f"input_blocks.{index}", has)
            index += 1
        if level < len(attention) - 1:
            names.append(f"input_blocks.{index}.0.op.weight")
            index += 1
    names += [
        "middle_block.0.in_layers.2.weight",
        "middle_block.1.proj_in.weight",
        "middle_block.2.out_layers.3.weight",
    ]
    index = 0
    for level, has in reversed(list(enumerate(attention))):
        for number in range(blocks + 1):
            block(f"output_blocks.{index}", has)
            if level and number == blocks:
                names.append(f"output_blocks.{index}.{2 if has else 1}.conv.weight")
            index += 1
    return names


@pytest.mark.parametrize(
    ("attention", "blocks"),
    [((True, True), 1), ((True, True, True, False), 2), ((False, True, True), 2), ((True,), 3), ((True, False) * 3, 1)],
)
def test_blocks_of_any_depth(attention, blocks):
    found = diffusers_blocks(ldm_unet(attention, blocks))
    levels = len(attention)
    expected = {}
    for level, has in enumerate(attention):
        for number in range(blocks):
            place = f"input_blocks.{1 + level * (blocks + 1) + number}"
            expected[f"{place}.0"] = f"down_blocks.{level}.resnets.{number}"
            if has:
                expected[f"{place}.1"] = f"down_blocks.{level}.attentions.{number}"
        if level < levels - 1:
            expected[f"input_blocks.{(level + 1) * (blocks + 1)}.0"] = f"down_blocks.{level}.downsamplers.0"
    for level, has in enumerate(reversed(attention)):
        for number in range(blocks + 1):
            place = f"output_blocks.{level * (blocks + 1) + number}"
            expected[f"{place}.0"] = f"up_blocks.{level}.resnets.{number}"
            if has:
                expected[f"{place}.1"] = f"up_blocks.{level}.attentions.{number}"
        if level < levels - 1:
            expected[f"{place}.{2 if has else 1}"] = f"up_blocks.{level}.upsamplers.0"
    assert found == expected


SD15 = {
    "down_blocks.1.attentions.0.proj_in": "input_blocks.4.1.proj_in",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in",
    "down_blocks.2.resnets.1.conv1": "input_blocks.8.0.in_layers.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "mid_block.resnets.1.conv2": "middle_block.2.out_layers.3",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.3.attentions.2.proj_out": "output_blocks.11.1.proj_out",
    "up_blocks.2.resnets.0.time_emb_proj": "output_blocks.6.0.emb_layers.1",
    "up_blocks.2.resnets.0.conv_shortcut": "output_blocks.6.0.skip_connection",
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_2": "time_embed.2",
}


@pytest.mark.parametrize("diffusers", SD15)
def test_every_way_of_naming_a_weight_of_sd15(diffusers):
    aliases = unet_aliases(ldm_unet((True, True, True, False), 2))
    ldm = SD15[diffusers]
    for call in (
        diffusers,
        f"unet.{diffusers}",
        "lora_unet_" + diffusers.replace(".", "_"),
        "lycoris_" + diffusers.replace(".", "_"),
        "lora_unet_" + ldm.replace(".", "_"),
        f"diffusion_model.{ldm}",
    ):
        assert aliases[call] == f"{ldm}.weight"


def test_attention_processors_of_early_diffusers():
    aliases = unet_aliases(ldm_unet((True, True), 1))
    place = "transformer_blocks.0.attn1"
    assert (
        aliases[f"unet.down_blocks.0.attentions.0.{place}.processor.to_out"]
        == f"input_blocks.1.1.{place}.to_out.0.weight"
    )


def test_names_of_the_text_encoder():
    name = "text_model.encoder.layers.11.self_attn.q_proj.weight"
    aliases = text_aliases([name, "text_model.embeddings.token_embedding.weight", "encoder.layers.0.mlp.fc1.weight"])
    flat = "text_model_encoder_layers_11_self_attn_q_proj"
    for call in (
        f"lora_te_{flat}",
        f"lora_te1_{flat}",
        f"text_encoder.{name[:-7]}",
        f"text_encoders.clip_l.transformer.{name[:-7]}",
    ):
        assert aliases[call] == name
    assert aliases["lora_te_text_model_encoder_layers_0_mlp_fc1"] == "encoder.layers.0.mlp.fc1.weight"


def test_other_architectures_are_named():
    with pytest.raises(Unsupported) as caught:
        lora_aliases("flux", [])
    assert caught.value.reason == "LORA_ARCH"


def manifest(name):
    path = REFERENCE / "manifests" / f"{name}.json"
    if not path.exists():
        pytest.skip("the shared reference is not here")
    return {key: shape for group in json.loads(path.read_text())["groups"] for key, shape in group["keys"].items()}


@pytest.mark.parametrize("lora", ["synth_lora_a", "synth_lora_b", "synth_lora_ldmkeys"])
def test_every_key_of_the_reference_loras_finds_a_weight_of_its_shape(lora):
    base = manifest("synth_sd15_mini")
    parts = {}
    for arch, prefix in (("sd15_unet", "model.diffusion_model."), ("clip_l", "cond_stage_model.transformer.")):
        names = [key.removeprefix(prefix) for key in base if key.startswith(prefix)]
        parts |= {alias: prefix + name for alias, name in lora_aliases(arch, names).items()}
    found = set()
    keys = manifest(lora)
    for key, shape in keys.items():
        if key.endswith(".lora_up.weight"):
            stem = key.removesuffix(".lora_up.weight")
            weight = base[parts[stem]]
            down = keys[stem + ".lora_down.weight"]
            assert weight[0] == shape[0] and weight[1:] == down[1:]
            found.add(parts[stem])
    assert len(found) == len(keys) // 3


def test_endings_are_told_apart():
    endings = [ending for pair in _PAIRS for ending in pair]
    assert len(set(endings)) == len(endings)
