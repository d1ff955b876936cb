from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import reference
from tests.support.stack import REPO, Stack, running_stack

CHECKPOINT = "synth_sd15_mini.safetensors"


@pytest.fixture(scope="session")
def models() -> Path:
    """A models folder with the synthetic SD1.5 checkpoint and two LoRAs."""
    target = Path(os.environ.get("HELIOGRAPH_TEST_WEIGHTS", REPO / "build" / "weights"))
    names = frozenset({CHECKPOINT, "synth_lora_a.safetensors", "synth_lora_b.safetensors"})
    return reference.write_weights(reference.folder(), names, target)


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded stack, as `heliograph up` starts it."""
    with running_stack(models, tmp_path_factory.mktemp("stack")) as running:
        yield running
