"""Prompts to conditioning, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from kit.errors import InvalidRequest
from orchestrator.graph.declare import node
from orchestrator.graph.spec import Float, Int, Link, Text
from orchestrator.nodes.links import ClipIn, ConditioningIn
from orchestrator.ports import Ctx
from orchestrator.text.chunks import embedding_files
from orchestrator.text.embeddings import finder
from orchestrator.values.models import Clip
from orchestrator.values.tensors import CondEntry, Conditioning

_CONDITIONING = (("CONDITIONING", "CONDITIONING"),)
Share = Annotated[float, Float(default=0.0, min=0.0, max=1.0, step=0.001)]


def _embedding_digests(ctx: Ctx, inputs: Mapping[str, object]) -> str | None:
    """Contents of the embeddings that the text names; of all of them where the text comes over a link."""
    text = inputs.get("text")
    if isinstance(text, str) and "embedding:" not in text:
        return ""
    files = ctx.models.list_files("embeddings")
    named = embedding_files(text, finder(files)) if isinstance(text, str) else files
    return ",".join(ctx.models.describe("embeddings", name).file.digest for name in named)


@node(
    "CLIPTextEncode", category="conditioning", display_name="CLIP Text Encode (Prompt)", outputs=_CONDITIONING,
    lane="accelerator", fingerprint=_embedding_digests,
)  # fmt: skip
def clip_text_encode(
    ctx: Ctx,
    text: Annotated[str, Text(multiline=True, dynamic_prompts=True)],
    clip: Annotated[Clip, Link("CLIP", options={})],
) -> tuple[Conditioning]:
    """Text states of a prompt: `(word:1.2)` weighs, `embedding:name` inserts, every 75 tokens make one block of 77."""
    from orchestrator.nodes.encoding import encode_prompt

    states, pooled = encode_prompt(ctx, clip, text)
    return ((CondEntry(states, pooled),),)


@node("CLIPSetLastLayer", category="conditioning", display_name="CLIP Set Last Layer", outputs=(("CLIP", "CLIP"),))
def clip_set_last_layer(
    ctx: Ctx, clip: ClipIn, stop_at_clip_layer: Annotated[int, Int(default=-1, min=-24, max=-1, step=1)]
) -> tuple[Clip]:
    """The text encoder read after an earlier layer: -1 the last one, -2 the last but one ("clip skip 2")."""
    return (replace(clip, stop_at_layer=stop_at_clip_layer),)


@node("ConditioningCombine", category="conditioning", display_name="Conditioning (Combine)", outputs=_CONDITIONING)
def conditioning_combine(
    ctx: Ctx, conditioning_1: ConditioningIn, conditioning_2: ConditioningIn
) -> tuple[Conditioning]:
    """Both prompts at once; their predictions are averaged."""
    return ((*conditioning_1, *conditioning_2),)


@node("ConditioningConcat", category="conditioning", display_name="Conditioning (Concat)", outputs=_CONDITIONING)
def conditioning_concat(
    ctx: Ctx, conditioning_to: ConditioningIn, conditioning_from: ConditioningIn
) -> tuple[Conditioning]:
    """Text states of the first entry of `conditioning_from` behind those of every entry of `conditioning_to`."""
    import torch

    tail = _first(conditioning_from).cross_attn
    _same_width(conditioning_to, tail.shape[-1])
    return (tuple(replace(entry, cross_attn=torch.cat((entry.cross_attn, tail), dim=1)) for entry in conditioning_to),)


@node("ConditioningAverage", category="conditioning", display_name="ConditioningAverage", outputs=_CONDITIONING)
def conditioning_average(
    ctx: Ctx,
    conditioning_to: ConditioningIn,
    conditioning_from: ConditioningIn,
    conditioning_to_strength: Annotated[float, Float(default=1.0, min=0.0, max=1.0, step=0.01)],
) -> tuple[Conditioning]:
    """Weighted mean of text states; `conditioning_from` is cut or filled with zeros to the other's length."""
    import torch

    other, share = _first(conditioning_from), conditioning_to_strength
    _same_width(conditioning_to, other.cross_attn.shape[-1])

    def mixed(entry: CondEntry) -> CondEntry:
        length = entry.cross_attn.shape[1]
        states = other.cross_attn[:, :length]
        missing = length - states.shape[1]
        states = torch.nn.functional.pad(states, (0, 0, 0, missing))  # B T D
        pooled = entry.pooled if entry.pooled is not None else other.pooled
        if pooled is not None and other.pooled is not None:
            pooled = pooled * share + other.pooled * (1.0 - share)
        return replace(entry, cross_attn=entry.cross_attn * share + states * (1.0 - share), pooled=pooled)

    return (tuple(mixed(entry) for entry in conditioning_to),)


@node(
    "ConditioningZeroOut", category="advanced/conditioning", display_name="ConditioningZeroOut", outputs=_CONDITIONING
)
def conditioning_zero_out(ctx: Ctx, conditioning: ConditioningIn) -> tuple[Conditioning]:
    """The same shape of conditioning with all text states zero."""
    import torch

    return (
        tuple(
            replace(
                entry,
                cross_attn=torch.zeros_like(entry.cross_attn),
                pooled=None if entry.pooled is None else torch.zeros_like(entry.pooled),
            )
            for entry in conditioning
        ),
    )


@node(
    "ConditioningSetTimestepRange", category="advanced/conditioning", display_name="ConditioningSetTimestepRange",
    outputs=_CONDITIONING,
)  # fmt: skip
def conditioning_set_timestep_range(
    ctx: Ctx,
    conditioning: ConditioningIn,
    start: Share,
    end: Annotated[float, Float(default=1.0, min=0.0, max=1.0, step=0.001)],
) -> tuple[Conditioning]:
    """Conditioning that holds only from share `start` to share `end` of the sampling process."""
    return (tuple(entry.with_options(start_percent=start, end_percent=end) for entry in conditioning),)


def _first(conditioning: Conditioning) -> CondEntry:
    if not conditioning:
        raise InvalidRequest("the conditioning is empty", reason="EMPTY_CONDITIONING")
    return conditioning[0]


def _same_width(conditioning: Conditioning, width: int) -> None:
    for entry in conditioning:
        if entry.cross_attn.shape[-1] != width:
            raise InvalidRequest(
                "these prompts were encoded by text encoders of different width and cannot be joined",
                reason="CONDITIONING_WIDTH", widths=f"{entry.cross_attn.shape[-1]} and {width}",
            )  # fmt: skip
