"""One stack for all clients, and the workflows that they submit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import CHECKPOINT, models  # noqa: F401  (a fixture)
from tests.support import workflows
from tests.support.stack import Stack, running_stack

TITLES = {
    "CLIPTextEncode": "Prompt",
    "EmptyLatentImage": "Empty Latent Image",
    "KSampler": "KSampler",
    "LoadImage": "Load Image",
    "SaveImage": "Save Image",
}


@pytest.fixture(scope="session")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:  # noqa: F811
    """The embedded stack with the settings that a user gets."""
    with running_stack(models, tmp_path_factory.mktemp("clients")) as running:
        yield running


@pytest.fixture
def address(stack: Stack) -> str:
    """host:port, as most clients take it."""
    return stack.rest.removeprefix("http://")


@pytest.fixture
def workflow(tmp_path: Path) -> Callable[..., Path]:
    """Writes one of our workflows as *Export (API)* does, small enough for the synthetic checkpoint."""

    def write(name: str, *, seed: int = 7, steps: int = 3) -> Path:
        graph: dict[str, Any] = workflows.load(name)
        if name != "no-model":
            graph = workflows.on_synthetic_weights(graph, CHECKPOINT, "", "example.png", shrink=8)
        for node in graph.values():
            node["_meta"] = {"title": TITLES.get(node["class_type"], node["class_type"])}
            if node["class_type"] == "KSampler":
                node["inputs"] |= {"seed": seed, "steps": steps}
        path = tmp_path / f"{name}-{seed}.json"
        path.write_text(json.dumps(graph))
        return path

    return write
