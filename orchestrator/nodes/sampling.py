"""KSampler nodes."""

from __future__ import annotations

from typing import Annotated

from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, Link, OneOf
from orchestrator.nodes.links import ConditioningIn, LatentIn, ModelIn
from orchestrator.ports import Ctx
from orchestrator.values.models import Model
from orchestrator.values.tensors import Conditioning, Latent
from sampling.names import SAMPLER_NAMES, SCHEDULER_NAMES

_LATENT = (("LATENT", "LATENT"),)
Seed = Annotated[int, Int(default=0, min=0, max=2**64 - 1, control_after_generate=True)]
Steps = Annotated[int, Int(default=20, min=1, max=10000)]
Cfg = Annotated[float, Float(default=8.0, min=0.0, max=100.0, step=0.1, round=0.01)]
ConditioningLink = Annotated[Conditioning, Link("CONDITIONING", options={})]


@node("KSampler", category="sampling", display_name="KSampler", outputs=_LATENT, lane="accelerator")
def ksampler(
    ctx: Ctx, model: Annotated[Model, Link("MODEL", options={})], seed: Seed, steps: Steps, cfg: Cfg,
    sampler_name: Annotated[str, OneOf(SAMPLER_NAMES, options={})],
    scheduler: Annotated[str, OneOf(SCHEDULER_NAMES, options={})],
    positive: ConditioningLink, negative: ConditioningLink,
    latent_image: Annotated[Latent, Link("LATENT", options={})],
    denoise: Annotated[float, Float(min=0.0, max=1.0, step=0.01)] = 1.0,
) -> tuple[Latent]:  # fmt: skip
    """Denoises a latent, guided by a positive and a negative prompt; a denoise below 1 keeps part of the latent."""
    from orchestrator.nodes.denoising import SamplingPlan, run_sampler

    plan = SamplingPlan(seed, steps, cfg, sampler_name, scheduler, denoise)
    return (run_sampler(ctx, model, plan, positive, negative, latent_image),)


@node("KSamplerAdvanced", category="sampling", display_name="KSampler (Advanced)", outputs=_LATENT, lane="accelerator")
def ksampler_advanced(
    ctx: Ctx, model: ModelIn, add_noise: Annotated[str, OneOf(("enable", "disable"))], noise_seed: Seed, steps: Steps,
    cfg: Cfg, sampler_name: Annotated[str, OneOf(SAMPLER_NAMES)], scheduler: Annotated[str, OneOf(SCHEDULER_NAMES)],
    positive: ConditioningIn, negative: ConditioningIn, latent_image: LatentIn,
    start_at_step: Annotated[int, Int(default=0, min=0, max=10000)],
    end_at_step: Annotated[int, Int(default=10000, min=0, max=10000)],
    return_with_leftover_noise: Annotated[str, OneOf(("disable", "enable"))],
) -> tuple[Latent]:  # fmt: skip
    """A part of a sampling run, from one step to another; leftover noise lets another sampler go on from there."""
    from orchestrator.nodes.denoising import SamplingPlan, run_sampler

    plan = SamplingPlan(
        noise_seed, steps, cfg, sampler_name, scheduler, add_noise=add_noise == "enable", start=start_at_step,
        end=end_at_step, force_full_denoise=return_with_leftover_noise == "disable",
    )  # fmt: skip
    return (run_sampler(ctx, model, plan, positive, negative, latent_image),)
