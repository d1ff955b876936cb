"""Detection and configuration from headers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kit.errors import InvalidModel, Unsupported
from model_service.archs import registry
from model_service.archs.blocks.kl_vae_keys import VaeConfig
from model_service.archs.clip_l import ClipConfig
from model_service.archs.registry import all_archs, arch, detect
from model_service.archs.sd15_unet import Level, UNetConfig
from model_service.weights.header import Header, TensorEntry
from tests.unit.model_service.archs.tiny import CONFIGS, PREFIXES, Tensors, described

_EXTRA = [
    ("sd15_unet", UNetConfig(64, 8, 4, 40, (Level(64, (1, 0), (0, 1, 2)), Level(128, (2, 2), (1, 1, 1))), 2)),
    ("sd15_unet", UNetConfig(32, 4, 4, 16, (Level(32, (0,), (0, 0)),), 1)),
    ("clip_l", ClipConfig(width=32, layers=1, mlp_width=64, vocabulary=30, positions=77, projection=16)),
    ("kl_vae_decoder", VaeConfig(3, 16, 0, (32,), 2)),
    ("kl_vae_encoder", VaeConfig(1, 4, 3, (32, 64, 96), 2)),
]
_ALL = [
    *((one.id, config) for one in all_archs() for config in one.samples),
    *CONFIGS.items(),
    *_EXTRA,
]


@pytest.mark.parametrize(("arch_id", "config"), _ALL)
@pytest.mark.parametrize("bare", [False, True])
def test_header_of_a_built_network_gives_its_configuration_back(arch_id: str, config: object, bare: bool) -> None:
    tensors = described(arch_id, config).under("" if bare else PREFIXES[arch_id])
    (found,) = detect(tensors.header())
    assert (found.arch.id, found.config) == (arch_id, config)
    assert found.part.prefix == ("" if bare else PREFIXES[arch_id])
    assert found.part.entries.keys() == described(arch_id, config).values.keys()


def _checkpoint() -> Tensors:
    parts = [described(arch_id, config).under(PREFIXES[arch_id]) for arch_id, config in CONFIGS.items()]
    return parts[0] | parts[1] | parts[2] | parts[3]


def test_a_checkpoint_has_all_its_components_and_foreign_leftovers_do_not_matter() -> None:
    left_over = Tensors({"model_ema.decay": torch.zeros(1), "alphas_cumprod": torch.zeros(1000)})
    found = detect((_checkpoint() | left_over).header())
    assert [one.arch.id for one in found] == list(CONFIGS)
    assert [one.kind for one in found] == ["unet", "text_encoder", "vae_decoder", "vae_encoder"]
    assert found[0].facts["context_dim"] == 24
    assert found[0].facts["latent_scale"] == 0.18215
    assert found[1].facts["text_layers"] == 3


def test_text_encoder_names_of_early_checkpoints_are_completed() -> None:
    old = {
        name.removeprefix("text_model."): value for name, value in described("clip_l", CONFIGS["clip_l"]).values.items()
    }
    (found,) = detect(Tensors(old).under("cond_stage_model.transformer.").header())
    assert found.config == CONFIGS["clip_l"]
    assert "text_model.final_layer_norm.weight" in found.part.entries


def test_two_names_for_one_tensor_are_refused() -> None:
    both = described("clip_l", CONFIGS["clip_l"]) | Tensors({"final_layer_norm.weight": torch.zeros(64)})
    with pytest.raises(InvalidModel, match="one meaning"):
        detect(both.header())


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("SDXL", ["model.diffusion_model.label_emb.0.0.weight", "conditioner.embedders.0.transformer.text_model.a"]),
        ("SD2.x", ["model.diffusion_model.input_blocks.0.0.weight", "cond_stage_model.model.ln_final.weight"]),
        ("Flux", ["double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"]),
        ("Wan", ["blocks.0.self_attn.q.weight", "head.modulation"]),
        ("T5 text encoder", ["encoder.block.0.layer.0.SelfAttention.k.weight"]),
        ("LoRA or another adapter", ["lora_unet_down_blocks_0.lora_down.weight"]),
        ("ControlNet", ["control_model.input_blocks.0.0.weight"]),
        ("diffusers' UNet layout", ["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"]),
        ("unknown", ["layer.weight"]),
    ],
)
def test_other_families_are_refused_by_name(family: str, names: list[str]) -> None:
    with pytest.raises(Unsupported) as caught:
        detect(Tensors({name: torch.zeros(1) for name in names}).header())
    assert caught.value.reason == "ARCH_UNKNOWN"
    assert caught.value.facts["family"] == family
    assert names[0] in caught.value.facts["seen"]


def test_linear_projections_are_not_sd1() -> None:
    tensors = dict(described("sd15_unet", CONFIGS["sd15_unet"]).values)
    for name in [name for name in tensors if "proj_in.weight" in name or "proj_out.weight" in name]:
        tensors[name] = tensors[name][:, :, 0, 0]
    with pytest.raises(Unsupported):
        detect(Tensors(tensors).header())


def test_an_unknown_component_beside_known_ones_is_not_skipped() -> None:
    strange = Tensors({"cond_stage_model.model.transformer.resblocks.0.ln_1.weight": torch.zeros(4)})
    unet = described("sd15_unet", CONFIGS["sd15_unet"]).under(PREFIXES["sd15_unet"])
    with pytest.raises(Unsupported) as caught:
        detect((unet | strange).header())
    assert caught.value.facts["parts"] == "cond_stage_model."


def test_ambiguity_is_refused_with_the_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = replace(arch("clip_l"), id="clip_twin")
    monkeypatch.setattr(registry, "all_archs", lambda: (arch_of["clip_l"], twin))
    arch_of = {one.id: one for one in all_archs()}
    with pytest.raises(Unsupported) as caught:
        detect(described("clip_l", CONFIGS["clip_l"]).header())
    assert caught.value.facts["candidates"] == "clip_l, clip_twin"


@pytest.mark.parametrize("missing", ["input_blocks.1.0.out_layers.3.weight", "input_blocks.3.0.out_layers.3.weight"])
def test_a_missing_block_is_named(missing: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        detect(described("sd15_unet", CONFIGS["sd15_unet"]).without(missing).header())
    assert caught.value.facts["tensor"] == missing


def test_widths_that_no_group_norm_accepts_are_refused() -> None:
    tensors = dict(described("sd15_unet", CONFIGS["sd15_unet"]).values)
    tensors["input_blocks.1.0.out_layers.3.weight"] = torch.empty(33, 33, 3, 3)
    with pytest.raises(InvalidModel, match="divisible"):
        detect(Tensors(tensors).header())


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(Unsupported):
        arch("sd99")


def test_detection_does_not_import_torch() -> None:
    code = (
        "import sys; from model_service.archs.registry import all_archs; all_archs(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[4]).returncode == 0


def _manifests() -> Path:
    root = os.environ.get("HELIOGRAPH_REFERENCE")
    folder = (Path(root) if root else Path(__file__).parents[5] / "shared" / "reference") / "manifests"
    if not folder.is_dir():
        pytest.skip("the shared reference is not here (HELIOGRAPH_REFERENCE)")
    return folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("synth_sd15", ["sd15_unet", "clip_l", "kl_vae_decoder", "kl_vae_encoder"]),
        ("synth_sd15_mini_inpaint", ["sd15_unet", "clip_l", "kl_vae_decoder", "kl_vae_encoder"]),
        ("synth_sd15_mini_ip2p", ["sd15_unet"]),
        ("synth_vae", ["kl_vae_decoder", "kl_vae_encoder"]),
        ("synth_clip_l", ["clip_l"]),
        ("synth_sd2_mini", "SD2.x"),
        ("synth_sdxl_mini", "SDXL"),
        ("synth_sdxl_refiner_mini", "SDXL"),
        ("synth_unclip_mini", "unCLIP"),
        ("synth_controlnet_mini", "ControlNet"),
        ("synth_clip_vision_l", "CLIP vision model"),
    ],
)
def test_reference_files(name: str, expected: list[str] | str) -> None:
    manifest = json.loads((_manifests() / f"{name}.json").read_text())
    header = Header(
        Path(f"{name}.safetensors"),
        {
            key: TensorEntry(key, group["dtype"], tuple(shape), 0, 0)
            for group in manifest["groups"]
            for key, shape in group["keys"].items()
        },
        {},
    )
    if isinstance(expected, list):
        assert [one.arch.id for one in detect(header)] == expected
        return
    with pytest.raises(Unsupported) as caught:
        detect(header)
    assert caught.value.facts["family"] == expected
