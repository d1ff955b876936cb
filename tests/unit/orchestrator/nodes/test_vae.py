"""VAE nodes with toy networks that scale by eight."""

from __future__ import annotations

import pytest
import torch

from kit.errors import InvalidRequest, Stopped, Unsupported
from orchestrator.nodes import vae as nodes
from orchestrator.nodes.tiles import Tiling, tiled
from orchestrator.values.models import Vae
from orchestrator.values.tensors import Latent
from tests.unit.orchestrator.nodes.fakes import FakeModels, Recorder, context, network, vae


def test_decode_scales_to_0_1_and_clamps() -> None:
    latent = torch.tensor([-3.0, 0.0, 0.5, 9.0]).reshape(1, 4, 1, 1)
    (picture,) = nodes.vae_decode(context(), Latent(latent), vae())
    assert picture.shape == (1, 8, 8, 3)
    assert picture[0, 0, 0].tolist() == pytest.approx([0.0, 0.5, 0.75])


def test_large_batches_go_in_several_calls_with_the_same_result() -> None:
    models = FakeModels()
    latent = torch.randn(3, 4, 64, 64)
    (picture,) = nodes.vae_decode(context(models=models), Latent(latent), vae())
    assert len(models.calls) == 3
    (one,) = nodes.vae_decode(context(), Latent(latent[1:2]), vae())
    assert torch.equal(picture[1:2], one)


def test_encode_cuts_around_the_centre_and_drops_alpha() -> None:
    models = FakeModels()
    picture = torch.rand(1, 21, 18, 4)
    (latent,) = nodes.vae_encode(context(models=models), picture, vae())
    assert latent.samples.shape == (1, 4, 2, 2)
    sent = models.calls[0][1]["image"]
    assert sent.shape == (1, 3, 16, 16)
    assert torch.allclose(torch.from_numpy(sent[0, :, 0, 0]), picture[0, 2, 1, :3] * 2 - 1)


@pytest.mark.parametrize("shape", [(1, 7, 64, 3), (1, 64, 64, 1)])
def test_pictures_that_cannot_be_encoded(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest):
        nodes.vae_encode(context(), torch.zeros(shape), vae())


def test_missing_halves_and_other_channels_are_typed_errors() -> None:
    with pytest.raises(Unsupported, match="no decoder"):
        nodes.vae_decode(context(), Latent(torch.zeros(1, 4, 1, 1)), Vae(None, network("vae_encoder")))
    with pytest.raises(Unsupported, match="no encoder"):
        nodes.vae_encode(context(), torch.zeros(1, 8, 8, 3), Vae(network("vae_decoder"), None))
    with pytest.raises(InvalidRequest, match="channels"):
        nodes.vae_decode(context(), Latent(torch.zeros(1, 16, 1, 1)), vae())


def test_tiled_decode_of_a_local_network_equals_the_whole_and_reports_progress() -> None:
    progress = Recorder()
    latent = Latent(torch.randn(2, 4, 20, 13))
    (whole,) = nodes.vae_decode(context(), latent, vae())
    (tiles,) = nodes.vae_decode_tiled(context(progress=progress), latent, vae(), 64, 16, 64, 8)
    assert torch.allclose(whole, tiles, atol=1e-6)
    assert progress.reports[-1][0] == progress.reports[-1][1] == len(progress.reports)


def test_tiled_encode_of_a_local_network_equals_the_whole() -> None:
    picture = torch.rand(1, 96, 160, 3)
    (whole,) = nodes.vae_encode(context(), picture, vae())
    (tiles,) = nodes.vae_encode_tiled(context(), picture, vae(), 64, 16, 64, 8)
    assert torch.allclose(whole.samples, tiles.samples, atol=1e-5)


def test_encoding_with_an_overlap_of_half_a_tile_says_what_to_change() -> None:
    with pytest.raises(InvalidRequest, match="choose less overlap"):
        nodes.vae_encode_tiled(context(), torch.rand(1, 96, 160, 3), vae(), 64, 32, 64, 8)


def test_decoding_lowers_such_an_overlap_instead() -> None:
    (picture,) = nodes.vae_decode_tiled(context(), Latent(torch.randn(1, 4, 20, 13)), vae(), 64, 64, 64, 8)
    assert picture.shape == (1, 160, 104, 3)


def test_tiles_stop_with_the_run() -> None:
    models = FakeModels()
    with pytest.raises(Stopped):
        nodes.vae_decode_tiled(
            context(models=models, progress=Recorder(stop_at=2)),
            Latent(torch.randn(1, 4, 20, 13)),
            vae(),
            64,
            16,
            64,
            8,
        )
    assert len(models.calls) == 2


@pytest.mark.parametrize("overlap", [0, 1, 3])
def test_every_place_is_covered_once_in_weight(overlap: int) -> None:
    samples = torch.rand(1, 2, 11, 17)
    tiling = Tiling(width=5, height=4, overlap=overlap, scale=2)
    seen: list[tuple[int, ...]] = []

    def double(part: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(part.shape))
        return part.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    result = tiled(samples, double, tiling, lambda: None)
    assert torch.allclose(result, double(samples), atol=1e-6)
    assert len(seen) - 1 == tiling.steps(samples)
