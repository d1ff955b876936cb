"""Text encoding through a toy encoder, and the conditioning nodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kit.errors import InvalidModel, InvalidRequest
from orchestrator.nodes import conditioning as nodes
from orchestrator.nodes.encoding import embedding_vectors, last_layer
from orchestrator.text.tokenizer import token_ids
from orchestrator.values.tensors import CondEntry
from tests.unit.orchestrator.nodes.fakes import LAYERS, WIDTH, FakeModels, clip, context

DOG = token_ids("dog")[0]


def encoded(text: str, models: FakeModels | None = None, stop: int | None = None) -> CondEntry:
    ((entry,),) = nodes.clip_text_encode(context(models=models), text, clip(stop))
    return entry


def test_a_short_prompt_is_one_call_of_one_row() -> None:
    models = FakeModels()
    entry = encoded("dog", models)
    assert entry.cross_attn.shape == (1, 77, WIDTH)
    assert entry.cross_attn[0, 1].tolist() == [DOG, 1, LAYERS, 1]
    ((_, inputs),) = models.calls
    assert inputs["tokens"].shape == (1, 77) and inputs["layer"].tolist() == [LAYERS]


def test_weights_move_states_away_from_the_empty_prompt() -> None:
    models = FakeModels()
    entry = encoded("(dog:1.5) dog", models)
    assert models.calls[0][1]["tokens"].shape == (2, 77)
    empty, plain = 49407.0, float(DOG)
    assert entry.cross_attn[0, 1, 0].item() == pytest.approx((plain - empty) * 1.5 + empty)
    assert entry.cross_attn[0, 2, 0].item() == plain


def test_long_prompts_are_joined_along_tokens_and_pooled_is_the_first_row() -> None:
    entry = encoded("dog " * 80)
    assert entry.cross_attn.shape == (1, 154, WIDTH)
    assert entry.pooled is not None and entry.pooled.shape == (1, WIDTH)


def test_embeddings_replace_states_and_ones_of_another_width_are_left_out() -> None:
    tensors = {
        "a.pt": {"string_to_param/*": np.full((2, WIDTH), 5, np.float32)},
        "wide.pt": {"emb_params": np.ones((1, 9), np.float32)},
    }
    models = FakeModels(tensors=tensors)
    entry = encoded("embedding:a dog embedding:wide", models)
    assert entry.cross_attn[0, 1:3].tolist() == [[5.0] * WIDTH] * 2
    assert entry.cross_attn[0, 3, 0].item() == DOG
    assert models.calls[0][1]["tokens"][0, 4] == 49407


def test_without_the_word_embedding_no_folder_is_listed() -> None:
    class NoList(FakeModels):
        def list_files(self, folder: str) -> tuple[str, ...]:
            raise AssertionError("listed")

    assert encoded("dog", NoList()).cross_attn.shape == (1, 77, WIDTH)


@pytest.mark.parametrize(("stop", "layer"), [(None, 12), (-1, 12), (-2, 11), (-12, 1), (-13, 12), (-24, 12)])
def test_last_layer_counts_from_the_end(stop: int | None, layer: int) -> None:
    assert last_layer(12, stop) == layer


def test_clip_set_last_layer_reaches_the_network() -> None:
    models = FakeModels()
    (value,) = nodes.clip_set_last_layer(context(), clip(), -2)
    nodes.clip_text_encode(context(models=models), "dog", value)
    assert models.calls[0][1]["layer"].tolist() == [LAYERS - 1]


def test_weights_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="finite"):
        encoded("(dog:inf)")


@pytest.mark.parametrize(
    "tensors",
    [
        {"emb_params": np.ones((3, 2), np.float32)},
        {"string_to_param/*": np.ones((3, 2), np.float32), "other": np.zeros((1, 7), np.float32)},
        {"clip_g": np.zeros((3, 5), np.float32), "clip_l": np.ones((3, 2), np.float32)},
        {"<word>": np.ones((3, 2), np.float64)},
    ],
)
def test_embedding_layouts(tensors: dict[str, np.ndarray]) -> None:
    vectors = embedding_vectors(tensors, "x")
    assert vectors.tolist() == np.ones((3, 2)).tolist() and vectors.dtype == np.float32


def test_a_file_without_vectors_is_no_embedding() -> None:
    with pytest.raises(InvalidModel):
        embedding_vectors({}, "x")


def entry(value: float, tokens: int = 2, pooled: float | None = None) -> CondEntry:
    states = torch.full((1, tokens, 3), value)
    return CondEntry(states, None if pooled is None else torch.full((1, 3), pooled))


def test_combine_and_concat() -> None:
    one, two = (entry(1.0),), (entry(2.0, tokens=3),)
    assert nodes.conditioning_combine(context(), one, two)[0] == (*one, *two)
    ((joined,),) = nodes.conditioning_concat(context(), one, two)
    assert joined.cross_attn[0, :, 0].tolist() == [1, 1, 2, 2, 2]


def test_average_fills_with_zeros_and_mixes_pooled() -> None:
    ((mixed,),) = nodes.conditioning_average(context(), (entry(1.0, 3, 1.0),), (entry(3.0, 1, 5.0),), 0.25)
    assert mixed.cross_attn[0, :, 0].tolist() == [2.5, 0.25, 0.25]
    assert mixed.pooled is not None and mixed.pooled[0, 0].item() == 4.0
    ((cut,),) = nodes.conditioning_average(context(), (entry(1.0, 1),), (entry(3.0, 4, 5.0),), 0.5)
    assert cut.cross_attn.shape == (1, 1, 3)
    assert cut.pooled is not None and cut.pooled[0, 0].item() == 5.0


def test_zero_out_and_time_range() -> None:
    ((zero,),) = nodes.conditioning_zero_out(context(), (entry(1.0, pooled=1.0),))
    assert not zero.cross_attn.any() and zero.pooled is not None and not zero.pooled.any()
    ((timed,),) = nodes.conditioning_set_timestep_range(context(), (entry(1.0),), 0.25, 0.5)
    assert dict(timed.options) == {"start_percent": 0.25, "end_percent": 0.5}


def test_prompts_of_other_width_cannot_be_joined() -> None:
    other = (CondEntry(torch.zeros(1, 2, 5)),)
    with pytest.raises(InvalidRequest, match="width"):
        nodes.conditioning_concat(context(), (entry(1.0),), other)
    with pytest.raises(InvalidRequest, match="empty"):
        nodes.conditioning_average(context(), (entry(1.0),), (), 0.5)


def test_the_fingerprint_follows_the_embeddings_that_the_text_names() -> None:
    tensors = {"a.pt": {}, "b.pt": {}}
    models = FakeModels(files={"embeddings": {"a.pt": "embedding", "b.pt": "embedding"}}, tensors=tensors)
    fingerprint = nodes.clip_text_encode.__node__.fingerprint
    digest = {name: models.describe("embeddings", name).file.digest for name in tensors}
    ctx = context(models=models)
    assert fingerprint(ctx, {"text": "a dog"}) == ""
    assert fingerprint(ctx, {"text": "x embedding:b"}) == digest["b.pt"]
    assert fingerprint(ctx, {}) == f"{digest['a.pt']},{digest['b.pt']}"
