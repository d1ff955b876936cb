"""Noise levels: split, turned, refined."""

from __future__ import annotations

import pytest
import torch

from kit.errors import InvalidRequest
from orchestrator.nodes import sigmas as nodes
from tests.unit.orchestrator.nodes.fakes import context

LEVELS = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("step", "high", "low"),
    [(0, [8], [8, 4, 2, 1, 0]), (2, [8, 4, 2], [2, 1, 0]), (4, [8, 4, 2, 1, 0], [0]), (9, [8, 4, 2, 1, 0], [])],
)
def test_split(step: int, high: list[float], low: list[float]) -> None:
    assert [part.tolist() for part in nodes.split_sigmas(context(), LEVELS, step)] == [high, low]


@pytest.mark.parametrize(
    ("denoise", "high", "low"),
    [
        (1.0, [8], [8, 4, 2, 1, 0]),
        (0.5, [8, 4, 2], [2, 1, 0]),
        (0.6, [8, 4, 2], [2, 1, 0]),
        (0.0, [], [0]),
    ],
)
def test_split_by_share(denoise: float, high: list[float], low: list[float]) -> None:
    assert [part.tolist() for part in nodes.split_sigmas_denoise(context(), LEVELS, denoise)] == [high, low]


def test_flipping_never_starts_at_zero_and_leaves_the_given_levels() -> None:
    assert nodes.flip_sigmas(context(), LEVELS)[0].tolist() == pytest.approx([0.0001, 1, 2, 4, 8])
    assert LEVELS[-1] == 0
    assert nodes.flip_sigmas(context(), LEVELS[:3])[0].tolist() == [2, 4, 8]
    assert nodes.flip_sigmas(context(), LEVELS[:0])[0].tolist() == []


def test_the_first_level() -> None:
    assert nodes.set_first_sigma(context(), LEVELS, 12.0)[0].tolist() == [12, 4, 2, 1, 0]
    assert LEVELS[0] == 8
    with pytest.raises(InvalidRequest, match="no sigmas"):
        nodes.set_first_sigma(context(), LEVELS[:0], 12.0)


@pytest.mark.parametrize(
    ("spacing", "found"),
    [
        ("linear", [8, 6, 4, 3, 2, 1, 0]),
        ("cosine", [8, 8 - 4 * 0.5**0.5, 4, 4 - 2 * 0.5**0.5, 2, 1, 0]),
        ("sine", [8, 4 + 4 * 0.5**0.5, 4, 2 + 2 * 0.5**0.5, 2, 1, 0]),
    ],
)
def test_extending_within_limits(spacing: str, found: list[float]) -> None:
    (result,) = nodes.extend_intermediate_sigmas(context(), LEVELS, 2, -1.0, 3.0, spacing)
    assert result.tolist() == pytest.approx(found)


def test_extending_has_a_start_and_a_bound() -> None:
    (result,) = nodes.extend_intermediate_sigmas(context(), LEVELS, 3, 4.0, 4.0, "linear")
    assert result.tolist() == pytest.approx([8, 4, 4 - 2 / 3, 4 - 4 / 3, 2, 1, 0])
    assert nodes.extend_intermediate_sigmas(context(), LEVELS, 1, -1.0, 0.0, "sine")[0].tolist() == LEVELS.tolist()
    assert nodes.extend_intermediate_sigmas(context(), LEVELS[:0], 5, -1.0, 0.0, "sine")[0].tolist() == []
    with pytest.raises(InvalidRequest, match="too many"):
        nodes.extend_intermediate_sigmas(context(), torch.ones(2000), 100, -1.0, 0.0, "linear")
