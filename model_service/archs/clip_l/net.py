"""OpenAI's CLIP text transformer (Radford et al. 2021) with the attribute names of its checkpoints."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_service.archs.clip_l.keys import ClipConfig


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # B heads T d
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc1(x)
        return self.fc2(h * torch.sigmoid(1.702 * h))  # the paper's approximation of GELU


class Layer(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.self_attn = Attention(config.width, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.mlp_width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class Embeddings(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.position_embedding = nn.Embedding(config.positions, config.width)


class Encoder(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))


class TextModel(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)


class ClipText(nn.Module):
    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.end_token = config.end_token
        self.text_model = TextModel(config)
        if config.projection:
            self.text_projection = nn.Linear(config.width, config.projection, bias=False)

    def forward(self, tokens: Tensor, embeds: Tensor, embeds_mask: Tensor, layer: Tensor) -> tuple[Tensor, Tensor]:
        """tokens [B, T], embeds [B, T, W], embeds_mask [B, T, 1], layer [1] -> hidden [B, T, W], pooled [B, W]."""
        model = self.text_model
        words = model.embeddings.token_embedding(tokens)
        x = torch.where(embeds_mask > 0.5, embeds, words) + model.embeddings.position_embedding.weight[None]
        states = []
        for block in model.encoder.layers:
            x = block(x)
            states.append(x)
        hidden = model.final_layer_norm(torch.stack(states).index_select(0, layer - 1).squeeze(0))
        end = (tokens == self.end_token).to(torch.int64).argmax(-1)  # the first of them
        end = end[:, None, None].expand(-1, 1, x.shape[-1])
        pooled = model.final_layer_norm(x.gather(1, end).squeeze(1))
        return hidden, self.text_projection(pooled) if hasattr(self, "text_projection") else pooled
