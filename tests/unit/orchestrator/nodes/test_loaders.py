"""Loaders build values and load nothing."""

from __future__ import annotations

import pytest

from kit.errors import InvalidModel, NotFound, Unsupported
from orchestrator.nodes import loaders
from orchestrator.values.models import Clip, Model
from tests.unit.orchestrator.nodes.fakes import FakeModels, context

FILES = {
    "checkpoints": {"all.safetensors": "checkpoint"},
    "diffusion_models": {"unet.safetensors": "unet"},
    "text_encoders": {"clip.safetensors": "text_encoder"},
    "vae": {"vae.safetensors": "vae_decoder"},
    "loras": {"a.safetensors": "lora", "b.safetensors": "lora", "no.safetensors": "checkpoint"},
}


@pytest.fixture
def models() -> FakeModels:
    return FakeModels(files=FILES)


def test_a_checkpoint_names_three_networks_of_one_file_and_prepares_none(models: FakeModels) -> None:
    model, clip, vae = loaders.checkpoint_loader_simple(context(models=models), "all.safetensors")
    assert model.network.component == "unet"
    assert clip.network.file == model.network.file
    assert vae.decoder is not None and vae.encoder is not None
    assert models.prepared == []


def test_a_checkpoint_without_text_encoder_says_so() -> None:
    models = FakeModels(files=FILES, components=("unet", "vae_decoder"))
    with pytest.raises(InvalidModel, match="no text encoder"):
        loaders.checkpoint_loader_simple(context(models=models), "all.safetensors")


def test_a_missing_file_is_not_found(models: FakeModels) -> None:
    with pytest.raises(NotFound):
        loaders.unet_loader(context(models=models), "gone.safetensors", "default")


def test_the_stock_configuration_sets_clip_skip_and_others_are_refused(models: FakeModels) -> None:
    ctx = context(models=models)
    assert loaders.checkpoint_loader(ctx, "v1-inference.yaml", "all.safetensors")[1].stop_at_layer is None
    assert loaders.checkpoint_loader(ctx, "v1-inference_clip_skip_2.yaml", "all.safetensors")[1].stop_at_layer == -2
    with pytest.raises(Unsupported, match="CheckpointLoaderSimple"):
        loaders.checkpoint_loader(ctx, "mine.yaml", "all.safetensors")


def test_single_files(models: FakeModels) -> None:
    ctx = context(models=models)
    assert loaders.unet_loader(ctx, "unet.safetensors", "default")[0].network.component == "unet"
    assert loaders.clip_loader(ctx, "clip.safetensors", "stable_diffusion")[0].stop_at_layer is None
    (vae,) = loaders.vae_loader(ctx, "vae.safetensors")
    assert vae.decoder is not None and vae.encoder is None


@pytest.mark.parametrize(
    "call",
    [
        lambda ctx: loaders.unet_loader(ctx, "unet.safetensors", "fp8_e4m3fn"),
        lambda ctx: loaders.clip_loader(ctx, "clip.safetensors", "sd3"),
        lambda ctx: loaders.vae_loader(ctx, "pixel_space"),
    ],
)
def test_what_cannot_be_served_is_a_typed_error(models: FakeModels, call: object) -> None:
    assert callable(call)
    with pytest.raises(Unsupported):
        call(context(models=models))


def test_loras_stack_in_order_and_strength_zero_changes_nothing(models: FakeModels) -> None:
    ctx = context(models=models)
    model, clip, _ = loaders.checkpoint_loader_simple(ctx, "all.safetensors")
    model, clip = loaders.lora_loader(ctx, model, clip, "a.safetensors", 0.7, 0.0)
    (model,) = loaders.lora_loader_model_only(ctx, model, "b.safetensors", -0.2)
    assert [(patch.file.name, patch.strength) for patch in model.network.patches] == [
        ("a.safetensors", 0.7),
        ("b.safetensors", -0.2),
    ]
    assert clip.network.patches == ()
    assert isinstance(model, Model) and isinstance(clip, Clip)


def test_a_file_that_is_no_lora_is_refused(models: FakeModels) -> None:
    ctx = context(models=models)
    model, _, _ = loaders.checkpoint_loader_simple(ctx, "all.safetensors")
    with pytest.raises(InvalidModel, match="no LoRA"):
        loaders.lora_loader_model_only(ctx, model, "no.safetensors", 1.0)


def test_fingerprints_are_the_digests_of_the_files(models: FakeModels) -> None:
    ctx = context(models=models)
    node = loaders.lora_loader.__node__
    digest = models.describe("loras", "a.safetensors").file.digest
    assert node.fingerprint(ctx, {"lora_name": "a.safetensors"}) == digest
    assert loaders.vae_loader.__node__.fingerprint(ctx, {"vae_name": "pixel_space"}) == ""
