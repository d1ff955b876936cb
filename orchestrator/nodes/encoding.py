"""Prompts to text states through a text encoder. Imports torch: only node functions import it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from kit.errors import InvalidModel, InvalidRequest, Unsupported
from orchestrator.nodes.facts import whole
from orchestrator.ports import Ctx, Models
from orchestrator.text.chunks import EMPTY_CHUNK, ROW, Chunk, EmbeddingSource, chunks
from orchestrator.text.embeddings import Find, finder
from orchestrator.values.models import Clip

_LOG = logging.getLogger(__name__)


def encode_prompt(ctx: Ctx, clip: Clip, text: str) -> tuple[Tensor, Tensor]:
    """States float32 [1, 77*n, W] of the prompt's n rows and the pooled state [1, W or projection] of the first.

    Raises InvalidRequest (PROMPT_WEIGHT) for weights that are no finite numbers, and what model calls raise.
    """
    servable = ctx.models.prepare(clip.network)
    width = whole(clip.network, servable.facts, "text_width")
    if whole(clip.network, servable.facts, "text_tokens") != ROW:
        raise Unsupported("text encoders with another length than 77 tokens are not known", reason="TEXT_TOKENS")
    rows = chunks(text, _embedding_source(ctx.models, width))
    if not all(math.isfinite(weight) for row in rows for weight in row.weights):
        raise InvalidRequest("a weight in the prompt is not a finite number", reason="PROMPT_WEIGHT")
    weighted = any(row.weighted for row in rows)
    layer = last_layer(whole(clip.network, servable.facts, "text_layers"), clip.stop_at_layer)
    answer = ctx.models.infer(servable, _inputs((*rows, EMPTY_CHUNK) if weighted else rows, width, layer))
    hidden = torch.from_numpy(answer["hidden"])  # row 77 W
    if weighted:
        hidden = _weighted(hidden[:-1], hidden[-1], rows)
    return hidden.reshape(1, -1, hidden.shape[-1]), torch.from_numpy(answer["pooled"][:1])  # 1 row*77 W


def last_layer(layers: int, stop_at: int | None) -> int:
    """The layer (counted from 1) whose states are taken; `stop_at` -1 is the last, beyond the first means the last."""
    if stop_at is None or -stop_at > layers:
        return layers
    return layers + 1 + stop_at


def _inputs(rows: Sequence[Chunk], width: int, layer: int) -> dict[str, np.ndarray]:
    embeds = np.zeros((len(rows), ROW, width), np.float32)
    mask = np.zeros((len(rows), ROW, 1), np.float32)
    for i, row in enumerate(rows):
        for position, vector in row.vectors.items():
            embeds[i, position] = vector
            mask[i, position] = 1
    tokens = np.array([row.ids for row in rows], np.int64)
    return {"tokens": tokens, "embeds": embeds, "embeds_mask": mask, "layer": np.array([layer], np.int64)}


def _weighted(states: Tensor, empty: Tensor, rows: Sequence[Chunk]) -> Tensor:
    """Each token's state moved away from the empty prompt's state at its place: z_empty + w * (z - z_empty)."""
    weights = torch.tensor([row.weights for row in rows], dtype=torch.float32)[..., None]  # row 77 1
    return torch.where(weights == 1, states, (states - empty) * weights + empty)


def _embedding_source(models: Models, width: int) -> EmbeddingSource:
    """Embeddings of the model folder, listed only if a prompt names one."""

    @cache
    def known() -> Find:
        return finder(models.list_files("embeddings"))

    def find(name: str) -> str | None:
        return known()(name)

    def load(file: str) -> np.ndarray | None:
        vectors = embedding_vectors(models.read_tensors("embeddings", file), file)
        if vectors.shape[-1] != width:
            _LOG.warning("embedding %s is for width %d, not %d: ignored", file, vectors.shape[-1], width)
            return None
        return vectors

    return EmbeddingSource(find, load, lambda name: _LOG.warning("embedding %s is unknown: ignored", name))


def embedding_vectors(tensors: dict[str, np.ndarray], file: str) -> np.ndarray:
    """Vectors [n, width] of a textual inversion in any of its usual layouts. Raises InvalidModel.

    A1111's file keeps them below `string_to_param`, files for several encoders under the encoder's name, others hold
    one tensor (`emb_params` or the trigger word).
    """
    named = [name for name in tensors if name.split("/")[0].split(".")[0] == "string_to_param"]
    names = [*named, *(name for name in tensors if name == "clip_l"), *tensors]
    if not names or tensors[names[0]].ndim not in (1, 2):
        raise InvalidModel("this file holds no embedding vectors", reason="EMBEDDING", file=file)
    vectors = tensors[names[0]]
    return np.ascontiguousarray(vectors.reshape(-1, vectors.shape[-1]), dtype=np.float32)
