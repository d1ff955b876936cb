"""A LoRA that names nothing of a model is refused; one that speaks of the other component is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from kit.errors import InvalidModel
from model_service.weights.lora import LoraUse, apply_loras
from model_service.weights.reader import read_header

WEIGHTS = {
    "sd15_unet": "input_blocks.1.1.proj_in.weight",
    "clip_l": "text_model.encoder.layers.0.mlp.fc1.weight",
}
UNET_PAIR = "lora_unet_down_blocks_0_attentions_0_proj_in"
TEXT_PAIR = "lora_te_text_model_encoder_layers_0_mlp_fc1"


def _pair(stem: str) -> dict[str, np.ndarray]:
    return {f"{stem}.lora_up.weight": np.ones((8, 2), "f2"), f"{stem}.lora_down.weight": np.ones((2, 8), "f2")}


def _apply(folder: Path, arch: str, lora: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], ...]:
    names = [WEIGHTS[arch], "input_blocks.1.0.in_layers.0.weight"] if arch == "sd15_unet" else [WEIGHTS[arch]]
    save_file({name: np.ones((8, 8), "f2") for name in names}, folder / "base.safetensors")
    save_file(dict(lora), folder / "lora.safetensors")
    base = read_header(folder / "base.safetensors")
    return apply_loras([LoraUse(read_header(folder / "lora.safetensors"), 1.0)], base, base.tensors, arch).unmatched


@pytest.mark.parametrize(
    ("arch", "lora"),
    [
        ("sd15_unet", _pair("lora_unet_double_blocks_0_img_attn_qkv")),
        ("sd15_unet", {"img_in.weight": np.ones((4, 4), "f2")}),
        ("clip_l", _pair("lora_te_text_model_encoder_layers_99_mlp_fc1")),
        ("clip_l", {"img_in.weight": np.ones((4, 4), "f2")}),
    ],
    ids=["of-Flux", "a-model", "of-a-deeper-encoder", "a-model-on-text"],
)
def test_nothing_in_common_is_an_error(tmp_path: Path, arch: str, lora: Mapping[str, np.ndarray]) -> None:
    with pytest.raises(InvalidModel) as caught:
        _apply(tmp_path, arch, lora)
    assert (caught.value.reason, caught.value.facts["file"]) == ("LORA_UNMATCHED", "lora.safetensors")
    assert caught.value.facts["seen"]


@pytest.mark.parametrize(("arch", "stem"), [("sd15_unet", TEXT_PAIR), ("clip_l", UNET_PAIR)])
def test_pairs_for_the_other_component_only_are_fine(tmp_path: Path, arch: str, stem: str) -> None:
    assert _apply(tmp_path, arch, _pair(stem)) == ((stem,),)


def test_one_pair_that_fits_is_enough(tmp_path: Path) -> None:
    lora = {**_pair(UNET_PAIR), **_pair("lora_unet_unknown")}
    assert _apply(tmp_path, "sd15_unet", lora) == (("lora_unet_unknown",),)
