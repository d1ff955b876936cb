"""One setting switched: the same workflows, served by a real Triton (CPU, Python backend), give the same results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import reference
from tests.support.stack import REPO, Stack, running_stack

SOURCE = reference.folder()
CHECK = reference.checker(SOURCE)
HANDFUL = ("core_txt2img", "core_odd_size", "lora_single", "img2img_denoise", "cond_unequal_token_lengths")
CASE_LIMIT_S = 300

pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(CASE_LIMIT_S + 120),
    pytest.mark.skipif(not (REPO / ".venv-triton").is_dir(), reason="no Triton here: `make triton-install`"),
]


@pytest.fixture(scope="module")
def triton_stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(models, tmp_path_factory.mktemp("triton"), serving="triton") as running:
        yield running


@pytest.mark.parametrize("name", HANDFUL)
def test_same_result_as_comfyui(triton_stack: Stack, name: str) -> None:
    server: Any = CHECK.Server(triton_stack.rest)
    good, notes = CHECK.check_case(server, str(SOURCE / "cases" / name), CASE_LIMIT_S)
    assert good, "; ".join(notes)


def test_triton_computed_it(triton_stack: Stack) -> None:
    """A case of its own first: the order of the tests is shuffled, and this one may be the first on the stack."""
    CHECK.check_case(CHECK.Server(triton_stack.rest), str(SOURCE / "cases" / HANDFUL[0]), CASE_LIMIT_S)
    log = triton_stack.log.read_text("utf-8", "replace")
    assert "successfully loaded 'unet-" in log
