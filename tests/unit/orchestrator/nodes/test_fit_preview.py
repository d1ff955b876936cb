"""The fit recovers a map that is known to be linear."""

from __future__ import annotations

import numpy as np
import pytest

from kit.errors import Unsupported
from orchestrator.nodes.fit_preview import colour_fields, fit
from orchestrator.values.models import Vae
from tests.unit.orchestrator.nodes.fakes import SCALE, FakeModels, network, vae


def test_a_linear_encoder_is_inverted() -> None:
    # The toy encoder's channels are red, green, blue and red again: red is shared between its two.
    rows = fit(FakeModels(), vae(), SCALE)
    expected = np.array([[0.5, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0, 0]]) / SCALE
    assert rows == pytest.approx(expected, abs=1e-3)


def test_fields_are_in_range_repeatable_and_varied() -> None:
    fields = colour_fields(3)
    assert fields.shape == (24, 3, 128, 128) and np.abs(fields).max() <= 1
    assert np.array_equal(fields, colour_fields(3))
    assert fields.mean(axis=(1, 2, 3)).std() > 0.1


def test_a_vae_without_encoder_is_refused() -> None:
    with pytest.raises(Unsupported, match="no encoder"):
        fit(FakeModels(), Vae(network("vae_decoder"), None), SCALE)
