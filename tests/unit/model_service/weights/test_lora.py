"""Plain LoRA against the same sum in torch; stacking, strengths, dtypes, other kinds and misfits."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kit.errors import InvalidModel, InvalidRequest, Unsupported
from model_service.weights.lora import LoraUse, apply_loras
from model_service.weights.lora_file import _PAIRS
from model_service.weights.reader import read_header
from model_service.weights.widen import widen

torch = pytest.importorskip("torch")

Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
CONV = "input_blocks.1.0.in_layers.2.weight"
PROJ = "input_blocks.1.1.proj_in.weight"
FC1 = "text_model.encoder.layers.0.mlp.fc1.weight"
STEMS = {
    Q: "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
    CONV: "lora_unet_down_blocks_0_resnets_0_conv1",
    PROJ: "lora_unet_down_blocks_0_attentions_0_proj_in",
    FC1: "lora_te_text_model_encoder_layers_0_mlp_fc1",
}
SHAPES = {Q: (24, 16), CONV: (24, 16, 3, 3), PROJ: (24, 16, 1, 1), FC1: (40, 16)}
UPS = tuple(up for up, _ in _PAIRS)
DOWNS = tuple(down for _, down in _PAIRS)


class Files:
    """Writes model files and reads their headers back."""

    def __init__(self, folder):
        self.folder = folder
        self.random = np.random.default_rng(7)
        self.count = 0

    def header(self, arrays):
        self.count += 1
        path = self.folder / f"{self.count}.safetensors"
        save_file(arrays, path)
        return read_header(path)

    def base(self, dtype=np.float16):
        arrays = {name: (self.random.standard_normal(shape) * 0.1).astype(dtype) for name, shape in SHAPES.items()}
        return arrays, self.header(arrays)

    def pair(
        self, name, rank=4, alpha=2.0, dtype=np.float16, up=".lora_up.weight", down=".lora_down.weight", stem=None
    ):
        out, *rest = SHAPES[name]
        tail = (1,) * (len(rest) - 1)
        stem = stem or STEMS[name]
        arrays = {
            stem + up: self.random.standard_normal((out, rank, *tail)).astype(dtype),
            stem + down: self.random.standard_normal((rank, *rest)).astype(dtype),
        }
        if alpha is not None:
            arrays[stem + ".alpha"] = np.array(alpha, dtype)
        return arrays


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def in_torch(weight, uses, half):
    """The same in torch, the plain way. `uses`: (pair arrays, strength)."""
    start = torch.from_numpy(weight.astype(np.float16 if half else weight.dtype)).float()
    for arrays, strength in uses:
        up = torch.from_numpy(next(a for k, a in arrays.items() if k.endswith(UPS)).astype(np.float32))
        down = torch.from_numpy(next(a for k, a in arrays.items() if k.endswith(DOWNS)).astype(np.float32))
        alpha = next((float(a) for k, a in arrays.items() if k.endswith("alpha")), None)
        scale = 1.0 if alpha is None else alpha / down.shape[0]
        product = torch.mm(up.flatten(start_dim=1), down.flatten(start_dim=1)).reshape(start.shape)
        start = start + (strength * scale) * product
    return (start.half() if half else start).numpy()


def close(ours, theirs):
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    if ours.dtype == np.float16:
        steps = np.abs(ours.view(np.int16).astype(int) - theirs.view(np.int16).astype(int))
        assert steps.max() <= 1 and (steps == 0).mean() > 0.99
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [Q, CONV, PROJ])
@pytest.mark.parametrize("strength", [1.0, 0.7, -1.3, 20.0])
@pytest.mark.parametrize("alpha", [4.0, 2.0, 1.0, None])
def test_unet_weights_become_float32_sums(files, name, strength, alpha):
    weights, base = files.base()
    pair = files.pair(name, alpha=alpha)
    patch = apply_loras([LoraUse(files.header(pair), strength)], base, base.tensors, "sd15_unet")
    assert set(patch.tensors) == {name}
    assert patch.unmatched == ((),)
    close(patch.tensors[name], in_torch(weights[name], [(pair, strength)], half=False))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, ml_dtypes.bfloat16])
def test_text_encoder_weights_stay_float16(files, dtype):
    weights, base = files.base(dtype)
    pair = files.pair(FC1)
    patch = apply_loras([LoraUse(files.header(pair), 0.6)], base, base.tensors, "clip_l")
    close(patch.tensors[FC1], in_torch(weights[FC1].astype(np.float16), [(pair, 0.6)], half=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ml_dtypes.bfloat16])
def test_other_dtypes_of_base_and_lora(files, dtype):
    weights, base = files.base(dtype)
    pair = files.pair(Q, dtype=dtype)
    patch = apply_loras([LoraUse(files.header(pair), 0.6)], base, base.tensors, "sd15_unet")
    close(patch.tensors[Q], in_torch(weights[Q].astype(np.float32), [(pair, 0.6)], half=False))


def test_stacked_loras_add_up_and_are_rounded_once(files):
    weights, base = files.base()
    pairs = [files.pair(FC1, rank=rank) for rank in (2, 4, 8)]
    uses = [LoraUse(files.header(pair), strength) for pair, strength in zip(pairs, (0.5, -0.25, 1.5))]
    patch = apply_loras(uses, base, base.tensors, "clip_l")
    close(patch.tensors[FC1], in_torch(weights[FC1], list(zip(pairs, (0.5, -0.25, 1.5))), half=True))


def test_opposite_strengths_cancel(files):
    weights, base = files.base()
    header = files.header(files.pair(Q))
    patch = apply_loras([LoraUse(header, 1.0), LoraUse(header, -1.0)], base, base.tensors, "sd15_unet")
    np.testing.assert_allclose(patch.tensors[Q], weights[Q].astype(np.float32), atol=1e-6)


def test_strength_zero_changes_nothing(files):
    _, base = files.base()
    patch = apply_loras([LoraUse(files.header(files.pair(Q)), 0.0)], base, base.tensors, "sd15_unet")
    assert dict(patch.tensors) == {}
    assert patch.unmatched == ((),)


@pytest.mark.parametrize("strength", [math.nan, math.inf])
def test_a_strength_is_a_number(files, strength):
    _, base = files.base()
    with pytest.raises(InvalidRequest):
        apply_loras([LoraUse(files.header(files.pair(Q)), strength)], base, base.tensors, "sd15_unet")


def test_only_this_component_is_touched_and_the_rest_reported(files):
    _, base = files.base()
    arrays = {
        **files.pair(Q),
        **files.pair(FC1),
        "bundle_emb.x.string_to_param.*": np.ones(3, np.float32),
        "lora_unet_nowhere.alpha": np.array(1.0),
    }
    use = LoraUse(files.header(arrays), 1.0)
    unet = apply_loras([use], base, base.tensors, "sd15_unet")
    assert set(unet.tensors) == {Q}
    assert set(unet.unmatched[0]) == {STEMS[FC1], "bundle_emb.x.string_to_param.*", "lora_unet_nowhere.alpha"}
    text = apply_loras([use], base, base.tensors, "clip_l")
    assert set(text.tensors) == {FC1}
    assert STEMS[Q] in text.unmatched[0]


DIFFUSERS = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("stem", "up", "down"),
    [
        (f"unet.{DIFFUSERS}", ".lora_B.weight", ".lora_A.weight"),
        (f"unet.{DIFFUSERS}", ".lora.up.weight", ".lora.down.weight"),
        (f"unet.{DIFFUSERS}", ".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"),
        (f"unet.{DIFFUSERS.replace('.to_', '.processor.to_')}", "_lora.up.weight", "_lora.down.weight"),
        (DIFFUSERS, ".lora_B.default.weight", ".lora_A.default.weight"),
        ("diffusion_model." + Q.removesuffix(".weight"), ".lora_B", ".lora_A"),
        ("diffusion_model." + Q.removesuffix(".weight"), ".lora_up.weight", ".lora_down.weight"),
        ("lora_unet_" + Q.removesuffix(".weight").replace(".", "_"), ".lora_up.weight", ".lora_down.weight"),
    ],
)
def test_key_styles(files, stem, up, down):
    weights, base = files.base()
    pair = files.pair(Q, alpha=None, up=up, down=down, stem=stem)
    patch = apply_loras([LoraUse(files.header(pair), 1.0)], base, base.tensors, "sd15_unet")
    close(patch.tensors[Q], in_torch(weights[Q], [(pair, 1.0)], half=False))


def test_a_linear_pair_patches_a_1x1_convolution(files):
    weights, base = files.base()
    pair = {key: (a.reshape(a.shape[:2]) if a.ndim == 4 else a) for key, a in files.pair(PROJ).items()}
    patch = apply_loras([LoraUse(files.header(pair), 1.0)], base, base.tensors, "sd15_unet")
    close(patch.tensors[PROJ], in_torch(weights[PROJ], [(pair, 1.0)], half=False))


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("hada_w1_a", "LoHa"),
        ("lokr_w1", "LoKr"),
        ("lokr_w2_b", "LoKr"),
        ("dora_scale", "DoRA"),
        ("diff", "full difference"),
        ("diff_b", "full difference"),
        ("lora_mid.weight", "LoCon with Tucker decomposition"),
        ("oft_blocks", "OFT or BOFT"),
        ("a1.weight", "GLoRA"),
        ("w_norm", "norm difference"),
        ("set_weight", "full weight"),
    ],
)
def test_other_kinds_are_named(files, ending, kind):
    _, base = files.base()
    arrays = {**files.pair(Q), f"{STEMS[Q]}.{ending}": np.ones((4, 4), np.float16)}
    with pytest.raises(Unsupported) as caught:
        apply_loras([LoraUse(files.header(arrays), 1.0)], base, base.tensors, "sd15_unet")
    assert caught.value.reason == "LORA_KIND"
    assert caught.value.facts["kind"] == kind
    assert kind in caught.value.message and "not supported yet" in caught.value.message


def test_a_lora_of_another_model_is_refused_with_both_shapes(files):
    _, base = files.base()
    stem = STEMS[Q]
    arrays = {
        stem + ".lora_up.weight": np.ones((24, 4), np.float16),
        stem + ".lora_down.weight": np.ones((4, 99), np.float16),
    }
    with pytest.raises(InvalidModel) as caught:
        apply_loras([LoraUse(files.header(arrays), 1.0)], base, base.tensors, "sd15_unet")
    assert caught.value.reason == "LORA_MISFIT"
    assert caught.value.facts["weight"] == "[24, 16]" and caught.value.facts["down"] == "[4, 99]"


BROKEN = {
    "no up": lambda p, s: p.pop(s + ".lora_up.weight"),
    "no down": lambda p, s: p.pop(s + ".lora_down.weight"),
    "ranks differ": lambda p, s: p.update({s + ".lora_up.weight": np.ones((24, 5), np.float16)}),
    "rank 0": lambda p, s: p.update(
        {s + ".lora_up.weight": np.ones((24, 0), np.float16), s + ".lora_down.weight": np.ones((0, 16), np.float16)}
    ),
    "flat up": lambda p, s: p.update({s + ".lora_up.weight": np.ones(4, np.float16)}),
    "up is no 1x1": lambda p, s: p.update({s + ".lora_up.weight": np.ones((24, 4, 3, 3), np.float16)}),
    "alpha is a vector": lambda p, s: p.update({s + ".alpha": np.ones(3, np.float16)}),
    "alpha is nan": lambda p, s: p.update({s + ".alpha": np.array(np.nan, np.float16)}),
    "alpha is empty": lambda p, s: p.update({s + ".alpha": np.ones(0, np.float16)}),
    "two pairs": lambda p, s: p.update(
        {s + ".lora_B": p[s + ".lora_up.weight"], s + ".lora_A": p[s + ".lora_down.weight"]}
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_loras_are_refused(files, case):
    _, base = files.base()
    pair = files.pair(Q)
    BROKEN[case](pair, STEMS[Q])
    with pytest.raises(InvalidModel) as caught:
        apply_loras([LoraUse(files.header(pair), 1.0)], base, base.tensors, "sd15_unet")
    assert caught.value.reason == "LORA_BROKEN"
    assert "file" in caught.value.facts


def test_bands_of_rows_give_the_same_as_one(files, monkeypatch):
    _, base = files.base()
    pair = files.pair(CONV)
    whole = apply_loras([LoraUse(files.header(pair), 1.0)], base, base.tensors, "sd15_unet").tensors[CONV]
    monkeypatch.setattr("model_service.weights.lora._BAND_ELEMENTS", 1000)
    banded = apply_loras([LoraUse(files.header(pair), 1.0)], base, base.tensors, "sd15_unet").tensors[CONV]
    close(banded, whole)


def test_widening_is_exact_for_every_float16():
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    for array in (finite, every, finite.reshape(-1, 2)):
        out = np.empty(array.shape, np.float32)
        widen(array, out)
        assert np.array_equal(out.view(np.uint32), array.astype(np.float32).view(np.uint32))
