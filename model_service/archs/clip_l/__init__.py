"""The text encoder of Stable Diffusion 1.x: OpenAI's CLIP ViT-L text model, at any width and depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_service.archs.clip_l.keys import ClipConfig, configure, facts, full_name, is_clip_l, signature
from model_service.archs.spec import Arch

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ARCH", "ClipConfig"]


def _build(config: ClipConfig) -> nn.Module:
    from model_service.archs.clip_l.net import ClipText

    return ClipText(config)


ARCH = Arch(
    id="clip_l",
    component="text_encoder",
    prefixes=("cond_stage_model.transformer.", "clip_l.transformer.", "clip_l.", ""),
    marks=(
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.encoder.layers.0.mlp.fc1.weight",
        "text_model.final_layer_norm.weight",
    ),
    absent=(),
    owns=("text_model.", "text_projection.weight", "embeddings.", "encoder.layers.", "final_layer_norm."),
    fits=is_clip_l,
    rename=full_name,
    unused=("text_model.embeddings.position_ids",),
    configure=configure,
    build=_build,
    tensors=signature,
    facts=facts,
    samples=(ClipConfig(width=768, layers=12, mlp_width=3072, vocabulary=49408, positions=77),),
)
