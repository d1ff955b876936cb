"""KSampler nodes against a toy network."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from kit.errors import InvalidRequest, Stopped, Unsupported
from orchestrator.nodes import sampling as nodes
from orchestrator.nodes.preview import preview_of
from orchestrator.values.models import Model
from orchestrator.values.tensors import CondEntry, Latent
from tests.unit.orchestrator.nodes.fakes import SCALE, FakeModels, Recorder, context, model

POSITIVE = (CondEntry(torch.full((1, 77, 4), 0.2)),)
NEGATIVE = (CondEntry(torch.full((1, 77, 4), -0.1)),)


def latent(channels: int = 4, value: float = 0.0, batch: int = 1) -> Latent:
    return Latent(torch.full((batch, channels, 6, 5), value))


def ksample(
    ctx: object, given: Latent, *, which: Model | None = None, denoise: float = 1.0, cfg: float = 3.0
) -> Latent:
    (result,) = nodes.ksampler(
        ctx,
        which or model(),
        7,
        3,
        cfg,
        "euler",
        "normal",
        POSITIVE,
        NEGATIVE,
        given,
        denoise,  # type: ignore[arg-type]
    )
    return result


def test_a_run_makes_one_call_of_both_prompts_a_step_and_reports_each() -> None:
    models, progress = FakeModels(), Recorder()
    result = ksample(context(models=models, progress=progress), latent())
    assert [call[1]["x"].shape for call in models.calls] == [(2, 4, 6, 5)] * 3
    assert [(value, total) for value, total, _ in progress.reports] == [(1, 3), (2, 3), (3, 3)]
    assert torch.isfinite(result.samples).all()


def test_guidance_of_one_needs_no_negative() -> None:
    models = FakeModels()
    ksample(context(models=models), latent(), cfg=1.0)
    assert {call[1]["x"].shape[0] for call in models.calls} == {1}


def test_equal_seeds_give_equal_results_and_prompts_matter() -> None:
    first, again = ksample(context(), latent()), ksample(context(), latent())
    assert torch.equal(first.samples, again.samples)
    (other,) = nodes.ksampler(context(), model(), 7, 3, 3.0, "euler", "normal", NEGATIVE, POSITIVE, latent(), 1.0)
    assert not torch.equal(first.samples, other.samples)


def test_no_denoise_returns_the_latent_through_the_scale() -> None:
    given = Latent(torch.randn(1, 4, 6, 5), batch_index=(0,))
    result = ksample(context(), given, denoise=0.0)
    assert torch.allclose(result.samples, given.samples, atol=1e-6)
    assert result.batch_index == (0,)


def test_the_scale_of_the_model_is_applied_inside() -> None:
    models = FakeModels()
    given = latent(value=100.0)
    nodes.ksampler_advanced(
        context(models=models),
        model(),
        "disable",
        0,
        3,
        1.0,
        "euler",
        "normal",
        POSITIVE,
        NEGATIVE,
        given,
        2,
        3,
        "disable",
    )
    (call,) = models.calls
    # x is divided by sqrt(sigma^2 + 1), so what reaches the network is at most the scaled latent
    assert call[1]["x"].max() <= 100.0 * SCALE
    assert call[1]["x"].max() > 50.0 * SCALE


def test_split_runs_equal_one_run() -> None:
    whole = ksample(context(), latent())
    common = ("euler", "normal", POSITIVE, NEGATIVE)
    (first,) = nodes.ksampler_advanced(context(), model(), "enable", 7, 3, 3.0, *common, latent(), 0, 2, "enable")
    (second,) = nodes.ksampler_advanced(context(), model(), "disable", 0, 3, 3.0, *common, first, 2, 10000, "disable")
    assert torch.allclose(second.samples, whole.samples, atol=1e-4)


def test_what_progress_raises_ends_the_run() -> None:
    with pytest.raises(Stopped):
        ksample(context(progress=Recorder(stop_at=2)), latent())


def test_cancel_is_checked_before_each_model_call() -> None:
    models = FakeModels()

    def cancelled() -> None:
        if len(models.calls) == 2:
            raise Stopped("the user stopped it")

    with pytest.raises(Stopped):
        ksample(replace(context(models=models), check_cancelled=cancelled), latent())
    assert len(models.calls) == 2


def test_an_empty_latent_takes_the_models_channels_and_a_filled_one_must_fit() -> None:
    models = FakeModels()
    assert ksample(context(models=models), latent(channels=16)).samples.shape == (1, 4, 6, 5)
    with pytest.raises(InvalidRequest, match="channels"):
        ksample(context(models=models), latent(channels=16, value=1.0))


@pytest.mark.parametrize(("channels", "extra"), [(9, 5), (8, 4)])
def test_models_with_more_inputs_get_their_neutral_channels(channels: int, extra: int) -> None:
    models = FakeModels()
    ksample(context(models=models), latent(), which=model(in_channels=channels))
    added = models.calls[0][1]["x"][:, 4:]
    assert added.shape[1] == extra
    assert (added[:, 0] == (1.0 if extra == 5 else 0.0)).all()


def test_unknown_models_and_options_are_typed_errors() -> None:
    with pytest.raises(Unsupported, match="input channels"):
        ksample(context(), latent(), which=model(in_channels=7))
    with pytest.raises(Unsupported, match="prediction"):
        ksample(context(), latent(), which=model(prediction="magic"))
    with pytest.raises(Unsupported, match="does not tell"):
        ksample(context(), latent(), which=model(latent_scale="large"))
    strange = (POSITIVE[0].with_options(gligen="x"),)
    with pytest.raises(Unsupported, match="cannot do"):
        nodes.ksampler(context(), model(), 7, 3, 3.0, "euler", "normal", strange, NEGATIVE, latent(), 1.0)


def test_the_last_step_has_a_preview_unless_switched_off() -> None:
    progress = Recorder()
    ksample(context(progress=progress), latent())
    preview = progress.reports[-1][2]
    assert preview is not None and preview.media_type == "image/jpeg"
    assert Image.open(io.BytesIO(preview.data)).size == (40, 48)
    quiet = Recorder()
    ksample(context(progress=quiet, previews=False), latent())
    assert [report[2] for report in quiet.reports] == [None] * 3


def test_previews_are_jpegs_of_at_most_512_pixels() -> None:
    large = preview_of(np.random.default_rng(0).random((4, 32, 128), np.float32))
    assert large is not None and Image.open(io.BytesIO(large.data)).size == (512, 128)
    assert preview_of(np.zeros((16, 8, 8), np.float32)) is None
    assert preview_of(np.full((4, 8, 8), np.nan, np.float32)) is not None


def test_previews_show_that_brightness_differs() -> None:
    direction = np.array([2.0, 1.0, 0.0, -1.0], np.float32)[:, None, None] * np.ones((1, 8, 8), np.float32)
    bright, dark = preview_of(direction), preview_of(-direction)
    assert bright is not None and dark is not None
    levels = [Image.open(io.BytesIO(item.data)).convert("L").getextrema() for item in (bright, dark)]
    assert levels[0][0] > levels[1][1]
