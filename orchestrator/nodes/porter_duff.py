"""The rules of Porter and Duff (1984) and the blend modes that Android gives the same interface.

Formulas: android.graphics.PorterDuff.Mode. Imports torch: only node functions import it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

_VISIBLE = 1e-5

Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(source colours times alpha, source alpha, destination colours times alpha, destination alpha) -> the result's."""


def _union(a: Tensor, b: Tensor) -> Tensor:
    return a + b - a * b


def _add(s: Tensor, a: Tensor, d: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (s + d).clamp(0, 1), (a + b).clamp(0, 1)


def _darken(s: Tensor, a: Tensor, d: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (1 - b) * s + (1 - a) * d + torch.minimum(s, d), _union(a, b)


def _lighten(s: Tensor, a: Tensor, d: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (1 - b) * s + (1 - a) * d + torch.maximum(s, d), _union(a, b)


def _overlay(s: Tensor, a: Tensor, d: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(2 * d < b, 2 * s * d, a * b - 2 * (b - s) * (a - d)), _union(a, b)


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "ADD": _add,
        "CLEAR": lambda s, a, d, b: (torch.zeros_like(d), torch.zeros_like(b)),
        "DARKEN": _darken,
        "DST": lambda s, a, d, b: (d, b),
        "DST_ATOP": lambda s, a, d, b: (a * d + (1 - b) * s, a),
        "DST_IN": lambda s, a, d, b: (a * d, a * b),
        "DST_OUT": lambda s, a, d, b: ((1 - a) * d, (1 - a) * b),
        "DST_OVER": lambda s, a, d, b: (d + (1 - b) * s, b + (1 - b) * a),
        "LIGHTEN": _lighten,
        "MULTIPLY": lambda s, a, d, b: (s * d, a * b),
        "OVERLAY": _overlay,
        "SCREEN": lambda s, a, d, b: (_union(s, d), _union(a, b)),
        "SRC": lambda s, a, d, b: (s, a),
        "SRC_ATOP": lambda s, a, d, b: (b * s + (1 - a) * d, b),
        "SRC_IN": lambda s, a, d, b: (b * s, a * b),
        "SRC_OUT": lambda s, a, d, b: ((1 - b) * s, (1 - b) * a),
        "SRC_OVER": lambda s, a, d, b: (s + (1 - a) * d, a + (1 - a) * b),
        "XOR": lambda s, a, d, b: ((1 - b) * s + (1 - a) * d, (1 - b) * a + (1 - a) * b),
    }
)


def composed(
    source: Tensor, source_alpha: Tensor, destination: Tensor, destination_alpha: Tensor, mode: str
) -> tuple[Tensor, Tensor]:
    """Colours [B, H, W, C] in 0..1 and alpha [B, H, W, 1] of the result; black where nothing is to be seen."""
    premultiplied = source * source_alpha, source_alpha, destination * destination_alpha, destination_alpha
    colours, alpha = _RULES[mode](*premultiplied)
    return torch.where(alpha > _VISIBLE, colours / alpha, 0.0).clamp(0, 1), alpha
