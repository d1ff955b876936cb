"""What is written is what our own detection reads, and what adapters' users expect."""

from pathlib import Path

import pytest
import torch

from kit.errors import InvalidModel
from kit.starter import CHECKPOINT, LORA
from model_service.archs.registry import detect
from model_service.catalogue.hashing import content_digest
from model_service.catalogue.sums import check_sum
from model_service.weights.lora_file import lora_content
from model_service.weights.lora_names import lora_aliases
from model_service.weights.reader import read_header
from training.controlnet import controlled, copied_from
from training.crops import any_picture, as_tensor
from training.lora import Lora, patched
from training.run import Workshop, write_checkpoint
from training.shown import Checkpoint, Settings
from training.taesd import new_pair
from training.text_and_unet import TEXT, UNET, TextAndUNet
from training.upscaler import new_upscaler
from training.vae import DECODER, ENCODER, LATENT_SCALE, Vae, fold_scale
from training.words import UNKNOWN, known_tokens, prompt_rows
from training.write import write_weights


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of untrained networks."""
    folder = tmp_path_factory.mktemp("models")
    write_checkpoint(Workshop(folder / "work", folder, lambda text: None), Vae.new(), TextAndUNet.new())
    return folder


def test_the_checkpoint_is_detected_as_its_three_parts(models: Path) -> None:
    found = {part.arch.id: part.config for part in detect(read_header(models / CHECKPOINT))}
    assert found == {"sd15_unet": UNET, "clip_l": TEXT, "kl_vae_decoder": DECODER, "kl_vae_encoder": ENCODER}


def test_a_written_file_is_listed_and_damage_is_found(models: Path) -> None:
    file = models / CHECKPOINT
    check_sum(file, content_digest(file))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    (models / "checkpoints" / "other.safetensors").write_bytes(content)
    check_sum(models / "checkpoints" / "other.safetensors", content_digest(models / "checkpoints/other.safetensors"))
    with pytest.raises(InvalidModel, match="python -m training") as caught:
        check_sum(file, content_digest(models / "checkpoints/other.safetensors"))
    assert caught.value.reason == "WEIGHTS_DAMAGED"


def test_the_checkpoint_is_small_and_loads_into_every_weight(models: Path) -> None:
    assert (models / CHECKPOINT).stat().st_size < 19_500_000
    (picture,) = Checkpoint.load(models / CHECKPOINT).pictures(["a red circle"], [1], Settings(side=64, steps=2))
    assert picture.shape == (64, 64, 3)


def test_a_lora_names_only_weights_of_the_checkpoint(models: Path) -> None:
    checkpoint = Checkpoint.load(models / CHECKPOINT)
    lora = Lora.new(checkpoint)
    write_weights(lora.file_tensors(), models, LORA, "test")
    content = lora_content(read_header(models / LORA))
    assert content.strangers == ()
    parts = {part.arch.id: part for part in detect(read_header(models / CHECKPOINT))}
    names = {
        arch: {aliases[stem] for stem in content.modules if stem in aliases}
        for arch in ("sd15_unet", "clip_l")
        for aliases in [lora_aliases(arch, parts[arch].part.entries)]
    }
    assert names["sd15_unet"] == set(lora.unet)
    assert names["clip_l"] == set(lora.text)
    assert len(content.modules) == len(lora.unet) + len(lora.text)


def test_an_untrained_lora_changes_nothing(models: Path) -> None:
    checkpoint = Checkpoint.load(models / CHECKPOINT)
    weights = dict(checkpoint.unet.named_parameters())
    for name, value in patched(checkpoint.unet, Lora.new(checkpoint).unet).items():
        assert torch.equal(value, weights[name])


def test_an_untrained_controlnet_changes_nothing(models: Path) -> None:
    unet = Checkpoint.load(models / CHECKPOINT).unet
    x, steps, context, hint = (
        torch.randn(1, 4, 8, 8),
        torch.tensor([5.0]),
        torch.randn(1, 77, 64),
        torch.ones(1, 3, 64, 64),
    )
    added = copied_from(unet)(x, steps, context, hint)
    assert torch.allclose(controlled(unet, x, steps, context, added), unet(x, steps, context), atol=1e-6)


def test_the_controlnet_has_the_layout_of_its_family(models: Path) -> None:
    names = set(copied_from(Checkpoint.load(models / CHECKPOINT).unet).state_dict())
    assert {"input_hint_block.14.weight", "zero_convs.5.0.bias", "middle_block_out.0.weight", "time_embed.0.weight",
            "input_blocks.0.0.weight", "middle_block.1.proj_in.weight"} <= names  # fmt: skip
    assert not any(name.startswith(("output_blocks.", "out.")) for name in names)


def test_taesd_and_upscaler_have_the_layouts_of_their_families() -> None:
    encoder, decoder = new_pair()
    assert {"0.weight", "1.conv.4.bias", "2.weight", "13.conv.0.weight", "14.bias"} <= set(encoder.state_dict())
    assert {"1.weight", "3.conv.0.weight", "7.weight", "18.conv.4.bias", "19.bias"} <= set(decoder.state_dict())
    assert "2.bias" not in encoder.state_dict() and "7.bias" not in decoder.state_dict()
    picture = torch.rand(1, 3, 32, 32)
    assert encoder(picture).shape == (1, 4, 4, 4)
    assert decoder(encoder(picture)).shape == picture.shape
    upscaler = new_upscaler()
    assert {"model.0.weight", "model.1.sub.0.RDB3.conv5.0.bias", "model.1.sub.2.weight", "model.3.weight",
            "model.5.bias", "model.7.weight"} <= set(upscaler.state_dict())  # fmt: skip
    assert upscaler(picture).shape == (1, 3, 64, 64)


def test_folding_makes_latents_white_and_changes_no_picture() -> None:
    vae = Vae.new()
    images = as_tensor([any_picture(number, 64) for number in range(6)])
    before = vae.decoder(vae.encoder(images))
    fold_scale(vae, images)
    latents = vae.encode(images).permute(1, 0, 2, 3).flatten(1)
    assert torch.allclose(torch.cov(latents), torch.eye(4), atol=1e-2)
    assert torch.allclose(latents.mean(1), torch.zeros(4), atol=1e-2)
    assert torch.allclose(vae.decoder(vae.encoder(images)), before, atol=1e-2)
    assert LATENT_SCALE == 0.18215


def test_unknown_words_share_a_row_and_known_ones_do_not() -> None:
    _, rows = prompt_rows(["a red gargoyle"])
    assert rows[0][3] == UNKNOWN
    assert UNKNOWN not in rows[0][:3]
    assert len(set(known_tokens())) == len(known_tokens())
