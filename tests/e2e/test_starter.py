"""The first five minutes: the workflows on the checkpoint that we ship, and what their pictures show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import workflows
from tests.support.stack import REPO, Stack, running_stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def starter_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """What `make up` serves in a fresh clone."""
    with running_stack(REPO / "models", tmp_path_factory.mktemp("starter")) as running:
        yield running


def pictures(stack: Stack, out: Path, *arguments: str) -> list[bytes]:
    """The files that `heliograph run` prints, read."""
    environment = {**os.environ, "HELIOGRAPH_FRONT_ADDRESS": stack.front}
    command = (sys.executable, "-m", "cli.main", "run", *arguments, "--out", str(out))
    result = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr
    return [Path(line).read_bytes() for line in result.stdout.split("\n") if line]


@pytest.mark.parametrize("name", workflows.on_starter())
def test_each_workflow_shows_what_its_expectation_says(starter_stack: Stack, tmp_path: Path, name: str) -> None:
    asked = (f"workflows/{name}.json", "--upload", str(workflows.EXAMPLE))
    made = pictures(starter_stack, tmp_path, *asked)
    assert not workflows.problems(workflows.expectation(name), made)


def test_another_prompt_gives_another_picture(starter_stack: Stack, tmp_path: Path) -> None:
    made = pictures(starter_stack, tmp_path, "workflows/hello.json", "--prompt", "two green triangles")
    expected = workflows.expectation("hello") | {"shows": {"things": ["green triangle", "green triangle"]}}
    assert not workflows.problems(expected, made)


def test_a_negative_prompt_removes_what_it_names(starter_stack: Stack, tmp_path: Path) -> None:
    asked = ("workflows/hello.json", "--negative", "a blue square", "--set", "5.cfg=7", "--set", "5.seed=4")
    (made,) = pictures(starter_stack, tmp_path, *asked)
    looks = {(thing.colour, thing.shape) for thing in workflows.seen_in(made)}
    assert ("red", "circle") in looks and ("blue", "square") not in looks
