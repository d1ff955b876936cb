"""Latent nodes, latent files, and the interpolation methods behind them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from kit.errors import InvalidRequest
from orchestrator.nodes import latent as nodes
from orchestrator.nodes.resize import bislerp
from orchestrator.values.tensors import Latent
from tests.unit.orchestrator.nodes.fakes import FolderArtifacts, context


def test_empty_latents_round_down() -> None:
    assert nodes.empty_latent_image(context(), 72, 100, 2)[0].samples.shape == (2, 4, 12, 9)


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(0, 0, (10, 20)), (320, 0, (20, 40)), (0, 40, (8, 16)), (104, 88, (11, 13)), (8, 8, (8, 8))],
)
def test_upscale_sizes_in_pixels(width: int, height: int, shape: tuple[int, int]) -> None:
    given = Latent(torch.rand(1, 4, 10, 20), batch_index=(3,))
    (scaled,) = nodes.latent_upscale(context(), given, "bilinear", width, height, "disabled")
    assert scaled.samples.shape[-2:] == shape
    assert scaled.batch_index == (3,)


@pytest.mark.parametrize("method", nodes.METHODS)
def test_upscale_by_keeps_flat_latents(method: str) -> None:
    flat = Latent(torch.tensor([1.0, -2.0, 0.5, 3.0]).reshape(1, 4, 1, 1).expand(1, 4, 6, 5).contiguous())
    (scaled,) = nodes.latent_upscale_by(context(), flat, method, 1.5)
    assert scaled.samples.shape == (1, 4, 9, 8)
    assert torch.allclose(scaled.samples[0, :, 4, 4], flat.samples[0, :, 0, 0], atol=1e-5)


def test_bislerp_turns_along_the_arc_and_mixes_lengths() -> None:
    samples = torch.tensor([[[[2.0, 0.0]], [[0.0, 4.0]]]])  # two channel vectors: (2, 0) and (0, 4)
    middle = bislerp(samples, 3, 1)[0, :, 0, 1]
    assert middle.norm().item() == pytest.approx(3.0, rel=1e-5)
    assert middle[0].item() == pytest.approx(middle[1].item(), rel=1e-5)


def test_bislerp_of_opposite_and_zero_vectors_is_finite() -> None:
    samples = torch.tensor([[[[1.0, -1.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    assert torch.isfinite(bislerp(samples, 7, 2)).all()


def test_latent_files_round_trip_with_the_prompt(tmp_path: Path) -> None:
    ctx = context(tmp_path)
    samples = torch.randn(1, 4, 3, 5)
    result = nodes.save_latent(ctx, Latent(samples), prompt={"1": {}}, extra_pnginfo={"workflow": {}})
    assert result.ui is not None
    (item,) = result.ui["latents"]
    assert isinstance(item, dict) and isinstance(ctx.artifacts, FolderArtifacts)
    assert ctx.artifacts.saved == [("output", "latents/ComfyUI", ".latent", (0, 0))]
    name = str(item["filename"])
    content = (tmp_path / name).read_bytes()
    assert load(content)["latent_format_version_0"].shape == (0,)
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"prompt": '{"1": {}}', "workflow": "{}"}
    (loaded,) = nodes.load_latent(ctx, name)
    assert torch.equal(loaded.samples, samples)


def test_files_of_the_first_format_are_unscaled(tmp_path: Path) -> None:
    save_file({"latent_tensor": torch.full((1, 4, 1, 1), 0.18215, dtype=torch.float16)}, tmp_path / "a.latent")
    (loaded,) = nodes.load_latent(context(tmp_path), "a.latent")
    assert loaded.samples.dtype == torch.float32
    assert loaded.samples.mean().item() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 9, b"\xff" * 64])
def test_broken_latent_files_are_typed_errors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.latent").write_bytes(content)
    with pytest.raises(InvalidRequest, match="no latent file"):
        nodes.load_latent(context(tmp_path), "a.latent")


def test_a_safetensors_file_without_latent_is_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "a.latent")
    with pytest.raises(InvalidRequest, match="holds no latent"):
        nodes.load_latent(context(tmp_path), "a.latent")
