"""Workflows recorded on ComfyUI 0.3.64, run through the whole service: the same pictures, the same errors.

Origin: the recordings under tests/golden/reference (and the wide set, where it is at hand). Tolerances: those of
check_cases.py (mean <= 1 level of 255, 99.9 % of pixels within 4 levels; latents: relative L2 <= 2e-3).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import reference
from tests.support.stack import REPO, Stack, running_stack

SOURCE = reference.folder()
CHECK = reference.checker(SOURCE)
CASES = dict(reference.reached_cases(SOURCE, reference.node_types()))
ERROR_CASES = {case["name"]: case for case in json.loads((SOURCE / "errors.json").read_text("utf-8"))["cases"]}
CASE_LIMIT_S = 300

pytestmark = [pytest.mark.stack, pytest.mark.timeout(CASE_LIMIT_S + 120)]


def weights_folder() -> Path:
    """Where synthetic weights are kept between runs."""
    return Path(os.environ.get("HELIOGRAPH_TEST_WEIGHTS", REPO / "build" / "weights"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    wanted = frozenset().union(*CASES.values())
    models = reference.write_weights(SOURCE, wanted, weights_folder())
    with running_stack(models, tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="module")
def server(stack: Stack) -> Any:
    return CHECK.Server(stack.rest)


@pytest.mark.parametrize("name", CASES)
def test_same_result_as_comfyui(server: Any, name: str) -> None:
    good, notes = CHECK.check_case(server, str(SOURCE / "cases" / name), CASE_LIMIT_S)
    assert good, "; ".join(notes)


@pytest.mark.parametrize("name", ERROR_CASES)
def test_same_answer_to_a_wrong_request(server: Any, name: str) -> None:
    case = ERROR_CASES[name]
    got = CHECK.response_of(*CHECK.send_error_case(server, case))
    assert not CHECK.same_response(case, got)


def test_another_seed_is_another_picture(server: Any) -> None:
    """The checker itself must be able to fail."""

    def shift(graph: dict[str, Any]) -> None:
        for node in graph.values():
            if isinstance(node["inputs"].get("seed"), int):
                node["inputs"]["seed"] += 1

    good, _ = CHECK.check_case(server, str(SOURCE / "cases" / "core_txt2img"), CASE_LIMIT_S, shift)
    assert not good
