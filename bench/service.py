"""A service of its own for a benchmark, on free ports and in a folder that goes away."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stack import Stack, running_stack

MODEL_FREE = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
    "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
    "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bench"}},
}


def model_free(number: int) -> dict[str, object]:
    """EmptyImage, ImageInvert, SaveImage; every `number` another colour, so that nothing is cached."""
    graph = {key: {**node, "inputs": dict(node["inputs"])} for key, node in MODEL_FREE.items()}
    graph["1"]["inputs"]["color"] = number % 0xFFFFFF
    return graph


@contextmanager
def service(models: Path | None = None, serving: str = "embedded", **extra: str) -> Iterator[Stack]:
    """A running service; settings by name, e.g. HELIOGRAPH_SHARED_MEMORY="off"."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        empty = root / "models"
        empty.mkdir()
        with running_stack(models or empty, root, serving=serving, extra=extra) as stack:
            yield stack
