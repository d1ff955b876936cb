"""Configuration and signature of OpenAI's CLIP text model, read from tensor names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kit.errors import InvalidModel
from model_service.archs.spec import Fact, Part, Signature, TensorSpec

_LAYER = "text_model.encoder.layers."
_HEAD_WIDTH = 64
_FEWEST_HEADS = 4  # one would read a caption one word a layer
# OpenCLIP's larger text models are distributed with the same names; they use another activation.
_FIRST_LAYER_OF_LARGER_MODELS = 22


@dataclass(frozen=True)
class ClipConfig:
    """`projection`: width of `pooled` behind the text projection, 0 where the file has none."""

    width: int
    layers: int
    mlp_width: int
    vocabulary: int
    positions: int
    projection: int = 0

    @property
    def heads(self) -> int:
        return max(_FEWEST_HEADS, self.width // _HEAD_WIDTH)

    @property
    def end_token(self) -> int:
        """Id of the end-of-text token: the last of the vocabulary."""
        return self.vocabulary - 1


def is_clip_l(part: Part) -> bool:
    return not part.has(f"{_LAYER}{_FIRST_LAYER_OF_LARGER_MODELS}.")


def full_name(name: str) -> str:
    """Checkpoints of early 2023 lack `text_model.`, which later versions of the same model have."""
    early = name.startswith(("embeddings.", "encoder.layers.", "final_layer_norm."))
    return f"text_model.{name}" if early else name


def configure(part: Part) -> ClipConfig:
    vocabulary, width = part.need("text_model.embeddings.token_embedding.weight", rank=2)
    projection = part.entries.get("text_projection.weight")
    config = ClipConfig(
        width=width,
        layers=part.count(_LAYER + "{}."),
        mlp_width=part.need(f"{_LAYER}0.mlp.fc1.weight", rank=2)[0],
        vocabulary=vocabulary,
        positions=part.need("text_model.embeddings.position_embedding.weight", rank=2)[0],
        projection=projection.shape[0] if projection else 0,
    )
    if width % config.heads:
        raise InvalidModel("the width of this text encoder is not divisible by its heads", width=width)
    return config


def signature(config: ClipConfig) -> Signature:
    """`embeds` replaces the token table's row where `embeds_mask` is 1; `layer` counts layers from 1."""
    tokens, width = config.positions, config.width
    return Signature(
        inputs=(
            TensorSpec("tokens", "INT64", ("batch", tokens)),
            TensorSpec("embeds", "FP32", ("batch", tokens, width)),
            TensorSpec("embeds_mask", "FP32", ("batch", tokens, 1)),
            TensorSpec("layer", "INT64", (1,)),
        ),
        outputs=(
            TensorSpec("hidden", "FP32", ("batch", tokens, width)),
            TensorSpec("pooled", "FP32", ("batch", config.projection or width)),
        ),
    )


def facts(config: ClipConfig) -> Mapping[str, Fact]:
    return {
        "family": "CLIP-L",
        "text_layers": config.layers,
        "text_width": config.width,
        "text_tokens": config.positions,
        "vocabulary": config.vocabulary,
        "start_token": config.vocabulary - 2,
        "end_token": config.end_token,
    }
