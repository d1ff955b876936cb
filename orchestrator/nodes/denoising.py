"""One sampling run against a diffusion model's servable. Imports torch: only node functions import it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from kit.errors import InvalidRequest, Unsupported
from orchestrator.nodes.facts import number, whole
from orchestrator.nodes.preview import StepReporter
from orchestrator.ports import Ctx, Servable
from orchestrator.values.models import Model
from orchestrator.values.tensors import CondEntry, Conditioning, Latent
from sampling.guidance import Cond, denoiser
from sampling.inpaint import inpaint_concat
from sampling.model_sampling import ModelSampling, Prediction, discrete
from sampling.noise import initial_noise
from sampling.run import sample
from sampling.schedule import sigmas_for

_PREDICTIONS = ("eps", "v")
_INPAINT_EXTRA, _EDIT_EXTRA = 5, 4
# Options of conditioning entries by ComfyUI's names that the guidance understands under the same name.
_OPTIONS = frozenset(
    {"start_percent", "end_percent", "strength", "area", "mask", "mask_strength", "set_area_to_bounds"}
)


@dataclass(frozen=True, eq=False)
class SamplingPlan:
    """What a KSampler node asks for. `start` and `end` are step numbers; `add_noise` False continues a run."""

    seed: int
    steps: int
    cfg: float
    sampler: str
    scheduler: str
    denoise: float = 1.0
    add_noise: bool = True
    start: int | None = None
    end: int | None = None
    force_full_denoise: bool = False


def run_sampler(
    ctx: Ctx, model: Model, plan: SamplingPlan, positive: Conditioning, negative: Conditioning, latent: Latent
) -> Latent:
    """The denoised latent, with the given one's mask and indices; progress and a preview each step.

    Raises InvalidRequest (LATENT_CHANNELS), Unsupported (CONDITIONING_OPTION ...), and what model calls raise.
    """
    network = model.network
    servable = ctx.models.prepare(network)
    scale = number(network, servable.facts, "latent_scale")
    schedule = _model_sampling(servable.facts)
    start = _fitted(latent.samples, whole(network, servable.facts, "latent_channels")) * scale
    sigmas = sigmas_for(
        schedule, plan.scheduler, plan.steps, sampler=plan.sampler, denoise=plan.denoise, start=plan.start,
        end=plan.end, force_full_denoise=plan.force_full_denoise,
    )  # fmt: skip
    noise = torch.zeros_like(start)
    if plan.add_noise:
        noise = initial_noise(start.shape, plan.seed, latent.batch_index)
    concat = _extra_channels(whole(network, servable.facts, "in_channels"), start, latent.noise_mask)
    guided = denoiser(
        _model_call(ctx, servable), schedule, _conds(positive, concat), _conds(negative, concat), plan.cfg,
        latent_size=(start.shape[-2], start.shape[-1]),
    )  # fmt: skip
    with StepReporter(ctx) as report:
        result = sample(
            guided, schedule, noise=noise, latent=start, sigmas=sigmas, sampler=plan.sampler, seed=plan.seed,
            callback=report, noise_mask=latent.noise_mask,
        )  # fmt: skip
    return latent.with_samples(result / scale)


def _model_sampling(facts: Mapping[str, object]) -> ModelSampling:
    prediction = facts.get("prediction")
    if prediction not in _PREDICTIONS:
        raise Unsupported("this kind of prediction is not known", reason="PREDICTION", prediction=prediction)
    return discrete(cast(Prediction, prediction))


def _fitted(samples: Tensor, channels: int) -> Tensor:
    """An empty latent takes any model's channels; a filled one must have them."""
    if samples.ndim == 4 and samples.shape[1] == channels:
        return samples
    if samples.ndim == 4 and not samples.any():
        return samples.new_zeros(samples.shape[0], channels, *samples.shape[2:])
    raise InvalidRequest(
        "this latent was made for another kind of model: it has another number of channels",
        reason="LATENT_CHANNELS", shape=list(samples.shape), channels=channels,
    )  # fmt: skip


def _extra_channels(in_channels: int, start: Tensor, noise_mask: Tensor | None) -> Tensor | None:
    """What inpainting (9 channels) and editing models (8) see beside the latent when no node says otherwise."""
    extra = in_channels - start.shape[1]
    if extra == 0:
        return None
    if extra == _INPAINT_EXTRA:
        return inpaint_concat(start.shape, noise_mask, start)
    if extra == _EDIT_EXTRA:
        return torch.zeros_like(start)
    raise Unsupported("the input channels of this model are not known", reason="IN_CHANNELS", in_channels=in_channels)


def _conds(conditioning: Conditioning, concat: Tensor | None) -> list[Cond]:
    return [_cond(entry, concat) for entry in conditioning]


def _cond(entry: CondEntry, concat: Tensor | None) -> Cond:
    unknown = sorted(set(entry.options) - _OPTIONS)
    if unknown:
        raise Unsupported(
            "the conditioning asks for something this sampler cannot do", reason="CONDITIONING_OPTION",
            options=", ".join(unknown),
        )  # fmt: skip
    options: dict[str, Any] = dict(entry.options)
    area = options.get("area")
    if area is not None and area[0] == "percentage":
        options["area"], options["area_share"] = None, tuple(area[1:])
    return Cond(entry.cross_attn, entry.pooled, concat=concat, **options)


def _model_call(ctx: Ctx, servable: Servable) -> Callable[[Tensor, Tensor, Mapping[str, Any]], Tensor]:
    def call(x: Tensor, timestep: Tensor, inputs: Mapping[str, Any]) -> Tensor:
        ctx.check_cancelled()
        arrays = {"x": _array(x), "timesteps": _array(timestep), "context": _array(inputs["context"])}
        return torch.from_numpy(ctx.models.infer(servable, arrays)["out"])

    return call


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)
