"""Folder kinds and extra_model_paths.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from kit.errors import InvalidRequest, NotFound
from model_service.catalogue.folders import model_folders

# GET /models of ComfyUI 0.3.64, recorded.
RECORDED_KINDS = [
    "checkpoints", "configs", "loras", "vae", "text_encoders", "diffusion_models", "clip_vision", "style_models",
    "embeddings", "diffusers", "vae_approx", "controlnet", "gligen", "upscale_models", "custom_nodes", "hypernetworks",
    "photomaker", "classifiers", "model_patches", "audio_encoders",
]  # fmt: skip


def below(folders, name, base):
    return [str(directory.relative_to(base)) for directory in folders[name].directories]


def test_kinds_and_their_directories_are_the_recorded_ones(tmp_path):
    folders = model_folders(tmp_path / "models", tmp_path / "output")
    assert list(folders.by_name) == RECORDED_KINDS
    assert below(folders, "checkpoints", tmp_path) == ["models/checkpoints", "output/checkpoints"]
    assert below(folders, "text_encoders", tmp_path) == ["models/text_encoders", "models/clip", "output/clip"]
    unet = ["models/unet", "models/diffusion_models", "output/diffusion_models"]
    assert below(folders, "diffusion_models", tmp_path) == unet
    assert below(folders, "controlnet", tmp_path) == ["models/controlnet", "models/t2i_adapter"]
    assert below(folders, "embeddings", tmp_path) == ["models/embeddings"]


@pytest.mark.parametrize("name", ["clip", "unet", "", "../checkpoints", "Checkpoints"])
def test_unknown_kinds_name_the_known_ones(tmp_path, name):
    with pytest.raises(NotFound) as caught:
        model_folders(tmp_path)[name]
    assert caught.value.reason == "FOLDER_NOT_FOUND"
    assert "checkpoints" in caught.value.facts["known"]


def test_endings(tmp_path):
    folders = model_folders(tmp_path)
    assert folders["loras"].holds("a.SafeTensors") and folders["loras"].holds("x/b.ckpt")
    assert not folders["loras"].holds("a.txt") and not folders["loras"].holds("safetensors")
    assert folders["configs"].holds("v1.yaml") and not folders["configs"].holds("v1.ckpt")
    assert folders["classifiers"].holds("plain") and not folders["classifiers"].holds("a.pt")


EXTRA = """
# a comment
a111:
    base_path: {base}/a111/
    checkpoints: models/Stable-diffusion
    loras: |
        models/Lora

        models/LyCORIS
    clip: models/clip
    unet: /elsewhere/unet
    ultralytics: models/ultralytics
empty:
first:
    base_path: sub
    is_default: true
    checkpoints: best
    vae: {base}/models/vae
relative:
    embeddings: ../emb
"""


def test_extra_paths(tmp_path):
    file = tmp_path / "config" / "extra.yaml"
    file.parent.mkdir()
    file.write_text(EXTRA.format(base=tmp_path))
    folders = model_folders(tmp_path / "models", None, file)
    checkpoints = ["config/sub/best", "models/checkpoints", "a111/models/Stable-diffusion"]
    assert below(folders, "checkpoints", tmp_path) == checkpoints
    assert below(folders, "loras", tmp_path) == ["models/loras", "a111/models/Lora", "a111/models/LyCORIS"]
    assert below(folders, "text_encoders", tmp_path)[-1] == "a111/models/clip"
    assert folders["diffusion_models"].directories[-1] == Path("/elsewhere/unet")
    assert below(folders, "vae", tmp_path) == ["models/vae"]
    assert below(folders, "embeddings", tmp_path) == ["models/embeddings", "emb"]
    assert folders["ultralytics"].holds("anything.onnx")
    assert list(folders.by_name)[-1] == "ultralytics"


def test_extra_paths_expand_the_environment_and_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STORE", str(tmp_path / "store"))
    file = tmp_path / "extra.yaml"
    file.write_text("a:\n  base_path: ~/x\n  vae: v\nb:\n  base_path: ${STORE}\n  vae: v\n")
    assert below(model_folders(tmp_path / "models", None, file), "vae", tmp_path) == [
        "models/vae",
        "home/x/v",
        "store/v",
    ]


def test_an_empty_file_adds_nothing(tmp_path):
    file = tmp_path / "extra.yaml"
    file.write_text("# nothing\n")
    assert list(model_folders(tmp_path, None, file).by_name) == RECORDED_KINDS


@pytest.mark.parametrize(
    "content",
    [
        b"a: [",
        b"- a\n- b",
        b"a: text",
        b"a:\n  vae: [x]",
        b"a:\n  1: x",
        b"\xff\xfe\0",
        b"a: !!python/object/apply:os.system [x]",
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path, content):
    file = tmp_path / "extra.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest) as caught:
        model_folders(tmp_path, None, file)
    assert caught.value.reason == "EXTRA_MODEL_PATHS"
    assert caught.value.facts["file"] == str(file)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(InvalidRequest):
        model_folders(tmp_path, None, tmp_path / "absent.yaml")
