"""Latents: arithmetic, batches, transforms, layers, empty ones, operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from kit.errors import InvalidRequest
from orchestrator.nodes import (
    empty_latents,
    latent_batch,
    latent_composite,
    latent_math,
    latent_operations,
    latent_transform,
)
from orchestrator.values.tensors import Latent
from tests.unit.orchestrator.nodes.fakes import context


def ramp(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)


def indexed(batch: int, *indices: int) -> Latent:
    """Entry n is filled with n."""
    samples = torch.arange(float(batch)).reshape(-1, 1, 1, 1).expand(batch, 4, 2, 3)
    return Latent(samples, batch_index=indices or None)


def firsts(latent: Latent) -> list[float]:
    result: list[float] = latent.samples[:, 0, 0, 0].tolist()
    return result


# --- arithmetic --------------------------------------------------------------------------------------------------


def test_arithmetic() -> None:
    one, two = Latent(torch.full((1, 4, 2, 2), 3.0), batch_index=(5,)), Latent(torch.full((1, 4, 2, 2), 2.0))
    assert latent_math.latent_add(context(), one, two)[0].samples.unique().tolist() == [5.0]
    assert latent_math.latent_subtract(context(), one, two)[0].samples.unique().tolist() == [1.0]
    assert latent_math.latent_multiply(context(), one, -0.5)[0].samples.unique().tolist() == [-1.5]
    assert latent_math.latent_blend(context(), one, two, 0.25)[0].samples.unique().tolist() == [2.25]
    assert latent_math.latent_add(context(), one, two)[0].batch_index == (5,)


def test_the_second_latent_takes_the_firsts_sides_and_batch() -> None:
    first, second = Latent(torch.zeros(3, 4, 4, 8)), Latent(ramp(2, 1, 1, 1).expand(2, 4, 8, 8))
    (result,) = latent_math.latent_add(context(), first, second)
    assert result.samples.shape == (3, 4, 4, 8) and firsts(result) == [0.0, 1.0, 0.0]
    (film,) = latent_math.latent_add(
        context(), Latent(torch.zeros(1, 16, 3, 4, 4)), Latent(ramp(1, 1, 3, 1, 1).expand(1, 16, 3, 8, 8))
    )
    assert film.samples[0, 0, :, 0, 0].tolist() == [0.0, 1.0, 2.0]


def test_latents_that_do_not_fit_are_typed_errors() -> None:
    first, second = Latent(torch.zeros(1, 4, 4, 4)), Latent(torch.zeros(1, 16, 4, 4))
    for combine in (
        latent_math.latent_add,
        latent_math.latent_subtract,
        latent_math.latent_interpolate,
        latent_math.latent_blend,
        latent_batch.latent_batch,
    ):
        with pytest.raises(InvalidRequest, match="do not fit"):
            combine(context(), first, second)
    with pytest.raises(InvalidRequest, match="do not fit"):
        latent_transform.latent_concat(context(), first, second, "x")
    large = Latent(torch.zeros(1, 1, 1, 1).expand(2, 4, 8192, 16384))
    with pytest.raises(InvalidRequest, match="too large"):
        latent_transform.latent_concat(context(), large, large, "x")
    with pytest.raises(InvalidRequest, match="do not fit"):
        latent_math.latent_add(context(), first, Latent(torch.zeros(1, 4, 0, 4)))


def test_a_blend_with_a_larger_batch_has_the_same_noise_everywhere() -> None:
    one, many = Latent(torch.zeros(1, 4, 2, 2), batch_index=(5,)), Latent(ramp(3, 1, 1, 1).expand(3, 4, 2, 2))
    (result,) = latent_math.latent_blend(context(), one, many, 0.0)
    assert firsts(result) == [0, 1, 2] and result.batch_index == (5, 5, 5)


def test_interpolation_mixes_lengths_and_directions_apart() -> None:
    first, second = (
        Latent(torch.tensor([2.0, 0.0]).reshape(1, 2, 1, 1)),
        Latent(torch.tensor([0.0, 4.0]).reshape(1, 2, 1, 1)),
    )
    (result,) = latent_math.latent_interpolate(context(), first, second, 0.5)
    assert result.samples.flatten().tolist() == pytest.approx([3 * 0.5**0.5] * 2)
    assert torch.equal(latent_math.latent_interpolate(context(), first, second, 1.0)[0].samples, first.samples)
    (empty,) = latent_math.latent_interpolate(context(), Latent(torch.zeros(2, 2, 1, 1)), second, 0.25)
    assert empty.samples[:, :, 0, 0].tolist() == [[0.0, 3.0]] * 2


# --- batches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length", "found"), [(1, 2, [1, 2]), (0, 1, [0]), (3, 9, [3]), (63, 64, [3]), (0, 64, [0, 1, 2, 3])]
)
def test_from_batch_stays_inside_and_remembers_places(start: int, length: int, found: list[int]) -> None:
    (result,) = latent_batch.latent_from_batch(context(), indexed(4), start, length)
    assert firsts(result) == found and result.batch_index == tuple(found)
    (again,) = latent_batch.latent_from_batch(context(), indexed(4, 7, 8, 9, 10), start, length)
    assert again.batch_index == tuple(7 + place for place in found)


def test_from_batch_takes_the_masks_along() -> None:
    masks = ramp(2, 1, 1, 1)
    many = Latent(torch.zeros(5, 4, 2, 2), masks)
    assert latent_batch.latent_from_batch(context(), many, 2, 2)[0].noise_mask.flatten().tolist() == [0.0, 1.0]  # type: ignore[union-attr]
    one = Latent(torch.zeros(5, 4, 2, 2), torch.full((1, 1, 2, 2), 0.5))
    assert latent_batch.latent_from_batch(context(), one, 2, 2)[0].noise_mask.shape[0] == 1  # type: ignore[union-attr]


def test_repeats_get_noise_of_their_own() -> None:
    (result,) = latent_batch.repeat_latent_batch(context(), indexed(2, 3, 5), 3)
    assert firsts(result) == [0, 1] * 3
    assert result.batch_index == (3, 5, 6, 8, 9, 11)
    assert latent_batch.repeat_latent_batch(context(), indexed(2), 3)[0].batch_index is None
    masked = Latent(torch.zeros(2, 4, 2, 2), ramp(2, 1, 1, 1))
    assert latent_batch.repeat_latent_batch(context(), masked, 2)[0].noise_mask.flatten().tolist() == [0, 1, 0, 1]  # type: ignore[union-attr]
    film = Latent(torch.zeros(1, 16, 3, 2, 2))
    assert latent_batch.repeat_latent_batch(context(), film, 2)[0].samples.shape == (2, 16, 3, 2, 2)


def test_noise_far_down_the_batch_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="too far"):
        latent_batch.repeat_latent_batch(context(), indexed(2, 0, 40_000), 2)


def test_joined_batches_keep_their_indices() -> None:
    first, second = indexed(2), Latent(torch.full((1, 4, 5, 3), 9.0), batch_index=(7,))
    (result,) = latent_batch.latent_batch(context(), first, second)
    assert firsts(result) == [0, 1, 9] and result.batch_index == (0, 1, 7)


def test_seed_behaviour() -> None:
    ctx = context()
    assert latent_batch.latent_batch_seed_behavior(ctx, indexed(3), "fixed")[0].batch_index == (0, 0, 0)
    assert latent_batch.latent_batch_seed_behavior(ctx, indexed(2, 4, 5), "fixed")[0].batch_index == (4, 4)
    assert latent_batch.latent_batch_seed_behavior(ctx, indexed(2, 4, 5), "random")[0].batch_index is None


def rebatch(latents: list[Latent], size: int) -> list[Latent]:
    lists: Any = latents, [size]
    return latent_batch.rebatch_latents(context(), *lists)[0]


def test_rebatching_counts_over_the_whole_list() -> None:
    result = rebatch([indexed(3), indexed(2)], 2)
    assert [firsts(latent) for latent in result] == [[0, 1], [2, 0], [1]]
    assert [latent.batch_index for latent in result] == [(0, 1), (2, 3), (4,)]
    assert all(latent.noise_mask is None for latent in result)


def test_rebatching_starts_anew_at_other_sides_and_keeps_masks() -> None:
    other = Latent(torch.full((1, 4, 5, 5), 9.0), torch.zeros(1, 1, 40, 40))
    result = rebatch([indexed(1), other, indexed(2, 6, 7)], 4)
    assert [firsts(latent) for latent in result] == [[0], [9], [0, 1]]
    assert [latent.noise_mask is None for latent in result] == [True, False, True]
    assert result[2].batch_index == (6, 7)
    mixed = rebatch([Latent(torch.zeros(1, 4, 2, 3), torch.zeros(1, 1, 5, 5)), indexed(1)], 4)
    assert mixed[0].noise_mask is not None and mixed[0].noise_mask[:, 0, 0, 0].tolist() == [0.0, 1.0]
    assert rebatch([], 2) == []


def test_rebatching_drops_masks_that_say_nothing() -> None:
    ones, half = (Latent(torch.zeros(2, 4, 2, 3), torch.full((1, 1, 4, 6), value)) for value in (1.0, 0.5))
    result = rebatch([ones, half, ones], 2)
    assert [latent.noise_mask is None for latent in result] == [True, False, True]
    assert result[1].noise_mask is not None and result[1].noise_mask.shape == (2, 1, 4, 6)
    large = Latent(torch.zeros(1, 1, 1, 1).expand(2, 3, 4096, 4096))  # its mask would have 2 x 2**30 numbers
    assert len(rebatch([large], 1)) == 2


def test_batches_cannot_grow_without_bound() -> None:
    large = Latent(torch.zeros(1, 1, 1, 1).expand(4096, 4, 128, 256))
    with pytest.raises(InvalidRequest, match="too large"):
        latent_batch.repeat_latent_batch(context(), large, 64)
    with pytest.raises(InvalidRequest, match="too large"):
        latent_batch.latent_batch(context(), large, Latent(torch.zeros(1, 1, 1, 1).expand(8192, 4, 128, 256)))


# --- transforms --------------------------------------------------------------------------------------------------


def test_turning_and_mirroring() -> None:
    square = Latent(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2), torch.ones(1, 1, 16, 16), (3,))
    turned = {
        turn: latent_transform.latent_rotate(context(), square, turn)[0].samples.flatten().tolist()
        for turn in ("none", "90 degrees", "180 degrees", "270 degrees")
    }
    assert turned == {
        "none": [1, 2, 3, 4], "90 degrees": [3, 1, 4, 2], "180 degrees": [4, 3, 2, 1], "270 degrees": [2, 4, 1, 3],
    }  # fmt: skip
    (down,) = latent_transform.latent_flip(context(), square, "x-axis: vertically")
    assert down.samples.flatten().tolist() == [3, 4, 1, 2] and down.batch_index == (3,)
    (across,) = latent_transform.latent_flip(context(), square, "y-axis: horizontally")
    assert across.samples.flatten().tolist() == [2, 1, 4, 3]


@pytest.mark.parametrize(
    ("sides", "asked", "shape", "first"),
    [
        ((12, 16), (64, 64, 16, 8), (8, 8), 18),
        ((12, 16), (512, 512, 16, 8), (11, 14), 18),
        ((12, 16), (64, 64, 999, 999), (8, 8), 4 * 16 + 8),
        ((5, 16), (64, 64, 0, 0), (3, 8), 2 * 16),  # the corner is at row -3, which counts from the end
    ],
)
def test_cropping(sides: tuple[int, int], asked: tuple[int, int, int, int], shape: tuple[int, int], first: int) -> None:
    (result,) = latent_transform.latent_crop(context(), Latent(ramp(1, 1, *sides)), *asked)
    assert result.samples.shape[-2:] == shape
    assert result.samples.flatten()[0] == first


@pytest.mark.parametrize(("dim", "shape"), [("x", (1, 4, 2, 6)), ("y", (1, 4, 4, 3)), ("t", (1, 8, 2, 3))])
def test_concat(dim: str, shape: tuple[int, ...]) -> None:
    one, two = Latent(torch.ones(1, 4, 2, 3)), Latent(torch.full((2, 4, 2, 3), 2.0))
    (after,) = latent_transform.latent_concat(context(), one, two, dim)
    (before,) = latent_transform.latent_concat(context(), one, two, f"-{dim}")
    assert after.samples.shape == before.samples.shape == shape
    assert (after.samples.flatten()[0], before.samples.flatten()[0]) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("index", "amount", "found"),
    [(1, 2, [1, 2]), (3, 9, [3, 4]), (99, 1, [4]), (-2, 1, [3]), (-2, 9, [3, 4]), (-99, 2, [0, 1])],
)
def test_cutting(index: int, amount: int, found: list[int]) -> None:
    row = Latent(ramp(1, 1, 1, 5))
    assert latent_transform.latent_cut(context(), row, "x", index, amount)[0].samples.flatten().tolist() == found
    column = Latent(ramp(1, 1, 5, 1))
    assert latent_transform.latent_cut(context(), column, "y", index, amount)[0].samples.flatten().tolist() == found
    film = Latent(ramp(1, 1, 5, 1, 1))
    assert latent_transform.latent_cut(context(), film, "t", index, amount)[0].samples.flatten().tolist() == found


def test_trimming_films() -> None:
    (result,) = latent_transform.trim_video_latent(context(), Latent(ramp(1, 1, 5, 1, 1)), 2)
    assert result.samples.flatten().tolist() == [2, 3, 4]


# --- layers ------------------------------------------------------------------------------------------------------


def composite(above: Tensor, x: int, y: int, feather: int = 0, sides: tuple[int, int] = (4, 6)) -> Tensor:
    below = Latent(torch.zeros(1, 1, *sides))
    return latent_composite.latent_composite(context(), below, Latent(above), x, y, feather)[0].samples[0, 0]


def test_composite_places_and_cuts() -> None:
    result = composite(torch.ones(1, 1, 3, 3), 32, 16)
    assert result.nonzero().tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    assert composite(torch.ones(1, 1, 3, 3), 48, 0).sum() == 0


def test_only_edges_inside_are_feathered() -> None:
    result = composite(torch.ones(1, 1, 4, 4), 16, 0, 16)
    assert result[1].tolist() == pytest.approx([0, 0, 0.5, 1, 1, 1])
    result = composite(torch.ones(1, 1, 4, 4), 8, 0, 16)
    assert result[1].tolist() == pytest.approx([0, 0.5, 1, 1, 0.5, 0])
    result = composite(torch.ones(1, 1, 2, 6), 0, 8, 16)
    assert result[:, 0].tolist() == pytest.approx([0, 0.5, 0.5, 0])
    result = composite(torch.ones(1, 1, 2, 6), 0, 8, 40)  # a ramp of five cells on two rows
    assert result[:, 0].tolist() == pytest.approx([0, 0.2 * 0.4 * 0.8, 0.2 * 0.4, 0])


def test_what_lies_outside_is_a_typed_error() -> None:
    with pytest.raises(InvalidRequest, match="do not fit"):
        composite(torch.ones(1, 1, 3, 3), 56, 0)
    with pytest.raises(InvalidRequest, match="do not fit"):
        composite(torch.ones(1, 2, 3, 3), 0, 0)


def test_masked_composite() -> None:
    below, above = Latent(torch.zeros(2, 1, 4, 4)), Latent(torch.ones(1, 1, 2, 2))
    (plain,) = latent_composite.latent_composite_masked(context(), below, above, 24, 8, False)
    assert plain.samples[1, 0].nonzero().tolist() == [[1, 3], [2, 3]]
    (whole,) = latent_composite.latent_composite_masked(context(), below, above, 0, 0, True)
    assert whole.samples.min() == 1.0
    half = torch.tensor([[[1.0, 0.0]]])
    (masked,) = latent_composite.latent_composite_masked(context(), below, above, 0, 0, True, mask=half)
    assert masked.samples[0, 0, 0].tolist() == pytest.approx([1.0, 0.75, 0.25, 0.0])
    (outside,) = latent_composite.latent_composite_masked(context(), below, above, 800, 0, False)
    assert outside.samples.sum() == 0 and below.samples.sum() == 0


def test_noise_masks_get_a_channel() -> None:
    (result,) = latent_composite.set_latent_noise_mask(context(), indexed(2, 3, 4), torch.ones(3, 5, 6))
    assert result.noise_mask is not None and result.noise_mask.shape == (3, 1, 5, 6)
    assert result.batch_index == (3, 4)


# --- operations --------------------------------------------------------------------------------------------------


def test_tonemapping_compresses_long_vectors() -> None:
    samples = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    (operation,) = latent_operations.latent_operation_tonemap_reinhard(context(), 1.0)
    (result,) = latent_operations.latent_apply_operation(context(), Latent(samples), operation)
    lengths, mapped = samples.norm(dim=1), result.samples.norm(dim=1)
    white = lengths.std() * 5 + lengths.mean()
    assert torch.allclose(mapped, lengths / (1 + lengths / white), rtol=1e-5)
    assert torch.allclose(result.samples / mapped[:, None], samples / lengths[:, None], atol=1e-5)


def test_sharpening_keeps_flat_latents_and_lifts_edges() -> None:
    (operation,) = latent_operations.latent_operation_sharpen(context(), 1, 1.0, 0.1)
    flat = torch.tensor([1.0, 2.0]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    (same,) = latent_operations.latent_apply_operation(context(), Latent(flat), operation)
    assert torch.allclose(same.samples, flat, atol=1e-5)
    edge = torch.ones(1, 1, 4, 4)
    edge[..., 2:] = -1.0
    (sharp,) = latent_operations.latent_apply_operation(context(), Latent(edge), operation)
    assert sharp.samples[0, 0, 0, 0] == pytest.approx(1.0, abs=1e-4) and sharp.samples[0, 0, 0, 1] > 1.1
    (wide,) = latent_operations.latent_operation_sharpen(context(), 4, 1.0, 0.1)
    with pytest.raises(InvalidRequest, match="radius"):
        latent_operations.latent_apply_operation(context(), Latent(edge), wide)
    with pytest.raises(InvalidRequest, match="latents of pictures"):
        latent_operations.latent_apply_operation(context(), Latent(torch.zeros(1, 4, 2, 8, 8)), wide)


# --- empty ones --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "asked", "shape"),
    [
        (empty_latents.empty_hunyuan_image_latent, (2048, 96, 2), (2, 64, 3, 64)),
        (empty_latents.empty_sd3_latent_image, (1024, 528, 2), (2, 16, 66, 128)),
        (empty_latents.empty_chroma_radiance_latent_image, (32, 16, 2), (2, 3, 16, 32)),
        (empty_latents.empty_hunyuan_latent_video, (848, 480, 25, 1), (1, 16, 7, 60, 106)),
        (empty_latents.empty_mochi_latent_video, (848, 480, 25, 1), (1, 12, 5, 60, 106)),
        (empty_latents.empty_cosmos_latent_video, (64, 32, 121, 2), (2, 16, 16, 4, 8)),
        (empty_latents.empty_ltxv_latent_video, (768, 512, 97, 1), (1, 128, 13, 16, 24)),
        (empty_latents.empty_latent_audio, (47.6, 2), (2, 64, 1024)),
        (empty_latents.empty_latent_audio, (1.0, 1), (1, 64, 22)),
        (empty_latents.empty_ace_step_latent_audio, (120.0, 1), (1, 8, 16, 1291)),
        (empty_latents.empty_latent_hunyuan3d_v2, (3072, 2), (2, 64, 3072)),
    ],
)
def test_empty_latents(make: Any, asked: tuple[Any, ...], shape: tuple[int, ...]) -> None:
    (result,) = make(context(), *asked)
    assert result.samples.shape == shape and not result.samples.any()


def test_stable_cascade_has_two_stages() -> None:
    stage_c, stage_b = empty_latents.stable_cascade_empty_latent_image(context(), 1024, 768, 42, 2)
    assert stage_c.samples.shape == (2, 16, 18, 24) and stage_b.samples.shape == (2, 4, 192, 256)


def test_empty_latents_have_a_bound() -> None:
    with pytest.raises(InvalidRequest, match="too large"):
        empty_latents.empty_hunyuan_latent_video(context(), 16384, 16384, 16384, 4096)
