"""One stack for all bad input, with a models folder of its own; after every test the service must be as before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import broken_files, graphs, reference
from tests.support.asking import Asking, process_ids
from tests.support.stack import Stack, running_stack


def place(source: Path, target: Path) -> Path:
    """The same file under another name: as a link where possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target


@pytest.fixture(scope="session")
def own_models(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The good files, in a folder where files may be broken."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("checkpoints/synth_sd15_mini.safetensors", "loras/synth_lora_a.safetensors"):
        place(models / name, folder / name)
    for empty in ("embeddings", "vae", "diffusion_models", "text_encoders"):
        (folder / empty).mkdir()
    return folder


@pytest.fixture(scope="session")
def other_checkpoint(models: Path) -> Path:
    """A checkpoint of the same family with other weights."""
    name = "synth_sd15_mini_b.safetensors"
    return reference.write_weights(reference.folder(), frozenset({name}), models) / "checkpoints" / name


@pytest.fixture(scope="session")
def marker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exists if code of a hostile file ran."""
    return tmp_path_factory.mktemp("marker") / "code-ran"


@pytest.fixture(scope="session")
def stack(own_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    extra = {
        "HELIOGRAPH_MAX_UPLOAD_MIB": "4",
        "HELIOGRAPH_WORKER_MEMORY_MIB": "5000",
        "HELIOGRAPH_MODEL_MEMORY_MIB": "5000",
    }
    with running_stack(own_models, tmp_path_factory.mktemp("bad-input"), extra=extra) as running:
        yield running


@pytest.fixture
def asking(stack: Stack) -> Asking:
    return Asking(stack)


def processes(stack: Stack) -> list[list[int]]:
    return [process_ids(stack, role) for role in ("front", "worker", "models", "bridge")]


def unfinished_files(stack: Stack) -> list[str]:
    """Files that are neither there nor not there."""
    return [str(path) for area in ("input", "output", "temp") for path in (stack.data / area).glob(".partial/*")]


@pytest.fixture(autouse=True)
def as_before(request: pytest.FixtureRequest, asking: Asking, stack: Stack, marker: Path) -> Iterator[None]:
    """No process died, nothing is queued, no half file is left, no foreign code ran, and the next run works."""
    before = processes(stack)
    yield
    assert asking.queue() == {"queue_running": [], "queue_pending": []}
    if "kills" not in request.keywords:
        assert processes(stack) == before
    assert unfinished_files(stack) == []
    assert not marker.exists()
    graph = graphs.plain(colour=hash(request.node.name) & 0xFFFFFF)
    assert len(asking.pictures(asking.succeed(graph))) == 1


@pytest.fixture
def broken(own_models: Path) -> Iterator[broken_files.Folder]:
    """Writes broken model files, which are gone after the test."""
    folder = broken_files.Folder(own_models)
    yield folder
    folder.clear()
